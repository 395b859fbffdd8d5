"""A folder of images and masks is paired by name, split by split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes
from segmenter.data.folder import Item, find_splits, hold_out, open_folder, read_labels, read_sample
from segmenter.errors import UserError
from tests.helpers.data_sets import write_pair


def names(items) -> list[str]:
    return [item.name for item in items]


def test_folders_in_images_are_splits_in_the_order_of_names(make_folder) -> None:
    folder = open_folder(make_folder("val/b", "train/z", "train/a", "train/town/c"))
    assert list(folder.splits) == ["train", "val"]
    assert names(folder.items("train")) == ["train/a", "train/town/c", "train/z"]
    assert names(folder.items("val", "train"))[0] == "val/b"
    assert folder.classes.names == ("ground", "tree", "sign")


def test_without_split_folders_there_is_one_split(make_folder) -> None:
    folder = open_folder(make_folder("a", "b"))
    assert {split: names(items) for split, items in folder.splits.items()} == {"all": ["a", "b"]}


def test_a_image_beside_split_folders_does_not_dissolve_the_splits(make_folder) -> None:
    with pytest.raises(UserError, match=r"stray\.png lies beside split folders"):
        open_folder(make_folder("train/a", "val/b", "stray"))


def test_an_unknown_split_is_answered_with_the_known_ones(make_folder) -> None:
    folder = open_folder(make_folder("train/a", "val/b"))
    with pytest.raises(UserError, match=r"'trian', did you mean 'train'\?.*train, val"):
        folder.items("trian")


def test_suffixes_may_be_in_capitals_and_hidden_files_are_not_seen(make_folder) -> None:
    root = make_folder("a")
    (root / "images" / "a.png").rename(root / "images" / "a.JPG")
    (root / "images" / ".b.png").write_bytes(b"")
    (root / "images" / "Thumbs.db").write_bytes(b"")
    assert names(open_folder(root).items("all")) == ["a"]


def test_two_images_that_share_a_mask_are_refused(make_folder) -> None:
    root = make_folder("a")
    write_pair(root / "images" / "a.jpg", None)
    with pytest.raises(UserError, match="differ only in suffix"):
        open_folder(root)


def test_images_without_masks_are_counted_and_the_first_is_named(make_folder) -> None:
    root = make_folder("a", "b", "c")
    (root / "masks" / "b.png").unlink()
    (root / "masks" / "c.png").unlink()
    with pytest.raises(UserError, match=r"2 of 3 images have no mask; the first: .*b\.png"):
        open_folder(root)


def test_what_is_no_data_set_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no folder 'images'.*images/NAME\.jpg"):
        open_folder(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="no folder 'masks'"):
        open_folder(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="no image in"):
        open_folder(tmp_path)


def test_missing_classes_are_asked_for_with_an_example_that_reads(make_folder) -> None:
    root = make_folder("a")
    classes = open_folder(root).classes
    (root / "classes.yaml").unlink()
    with pytest.raises(UserError, match=r"no such file: .*classes\.yaml.*values: \[1\]"):
        open_folder(root)
    assert open_folder(root, classes).classes is classes


def test_a_folder_in_the_place_of_the_classes_is_named(make_folder) -> None:
    root = make_folder("a")
    (root / "classes.yaml").unlink()
    (root / "classes.yaml").mkdir()
    with pytest.raises(UserError, match=r"classes\.yaml is a folder, but the file"):
        open_folder(root)


def test_links_in_a_circle_end(make_folder) -> None:
    root = make_folder("train/a")
    (root / "images" / "train" / "again").symlink_to(root / "images")
    (root / "masks" / "more").symlink_to(root / "masks" / "train")
    assert names(open_folder(root).items("train")) == ["train/a"]


def test_a_linked_split_is_read(make_folder) -> None:
    root = make_folder("train/a")
    for kind in ("images", "masks"):
        (root / kind / "val").symlink_to(root / kind / "train")
    assert names(open_folder(root).items("val")) == ["val/a"]


@pytest.mark.parametrize("separator", [" ", "\t", ",", " , "])
def test_lists_split_a_folder_and_keep_their_order(separator, make_folder) -> None:
    root = make_folder("a", "b")
    lines = [f"images/{name}.png{separator}masks/{name}.png" for name in "ba"]
    (root / "train.txt").write_text("\n".join(lines) + "\n\n")
    (root / "labels.txt").write_text("ground\ntree\nsign\n")
    folder = open_folder(root)
    assert list(folder.splits) == ["train"]
    assert names(folder.items("train")) == ["images/b", "images/a"]
    assert open_folder(root / "train.txt").items("train") == folder.items("train")


def test_lists_may_hold_absolute_paths_and_images_without_masks(
    make_folder, tmp_path: Path
) -> None:
    root = make_folder("a")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "test.txt").write_text(f"{root}/images/a.png\n../set/images/a.png\n")
    first, second = find_splits(lists)["test"]
    assert first.image == root / "images" / "a.png"
    assert first.mask is None
    assert second.name == "set/images/a"
    with pytest.raises(UserError, match="has no mask"):
        read_labels(first, open_folder(root).classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images/a.png masks/b.png", r"line 1: no such file: .*masks/b\.png"),
        ("images/a.png masks/a.png 3", "line 1: 3 fields"),
        ("\n\n", "names no image"),
    ],
)
def test_faults_in_a_list_are_named_with_their_line(text, message, make_folder) -> None:
    path = make_folder("a") / "train.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        open_folder(path)


def test_a_file_that_is_no_list_is_refused(make_folder) -> None:
    path = make_folder("a") / "train.txt"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="not text"):
        open_folder(path)


def test_held_out_items_are_the_same_in_any_order(tmp_path: Path) -> None:
    items = [Item(f"photo-{index}", tmp_path, None) for index in range(50)]
    train, val = hold_out(items, 0.1)
    assert len(val) == 5
    assert sorted(names(train + val)) == sorted(names(items))
    assert set(hold_out(items[::-1], 0.1)[1]) == set(val)


@pytest.mark.parametrize(("count", "sizes"), [(0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (4, (3, 1))])
def test_both_sides_of_a_hold_out_get_an_item_if_there_are_two(
    count, sizes, tmp_path: Path
) -> None:
    parts = hold_out([Item(f"photo-{index}", tmp_path, None) for index in range(count)], 0.1)
    assert tuple(map(len, parts)) == sizes


def test_a_sample_is_the_image_and_its_labels(make_folder) -> None:
    folder = open_folder(make_folder("a"))
    (item,) = folder.items("all")
    sample = read_sample(item, folder.classes)
    assert np.array_equal(sample.image, np.array(Image.open(item.image)))
    assert np.array_equal(sample.labels, np.array(Image.open(item.mask)))


def test_a_mask_of_another_size_is_refused_with_both_sizes(make_folder) -> None:
    folder = open_folder(make_folder("a"))
    (item,) = folder.items("all")
    Image.new("L", (50, 41)).save(item.mask)
    with pytest.raises(UserError, match=r"has 41 x 50 pixels.*has 40 x 50"):
        read_sample(item, folder.classes)


def test_a_image_turned_by_exif_explains_why_its_mask_does_not_fit(make_folder) -> None:
    folder = open_folder(make_folder("a"))
    (item,) = folder.items("all")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(item.image).save(item.image, exif=exif)
    with pytest.raises(UserError, match="EXIF"):
        read_sample(item, folder.classes)


def test_palettes_are_applied_only_where_classes_are_colors(make_folder) -> None:
    folder = open_folder(make_folder("a"))
    (item,) = folder.items("all")
    indices = np.array(Image.open(item.mask))
    mask = Image.fromarray(indices).convert("P")
    mask.putpalette([9, 8, 7, 1, 2, 3])
    mask.save(item.mask)
    assert np.array_equal(read_sample(item, folder.classes).labels, indices)
    colors = Classes.model_validate(
        {
            "classes": [
                {"name": "a", "color": [0, 0, 0], "values": [[1, 2, 3]]},
                {"name": "b", "color": [0, 0, 0], "values": [[9, 8, 7]]},
            ]
        }
    )
    assert np.array_equal(read_sample(item, colors).labels, 1 - indices)


def test_camvid_is_found_whole(camvid) -> None:
    folder = open_folder(camvid)
    assert {split: len(items) for split, items in folder.splits.items()} == {
        "test": 233,
        "train": 367,
        "val": 101,
    }
    sample = read_sample(folder.items("val")[0], folder.classes)
    assert sample.image.shape == (360, 480, 3)
    assert set(np.unique(sample.labels)) <= {*range(11), 255}


def test_a_mask_in_a_format_that_is_not_read_is_counted_in_the_message(make_folder) -> None:
    root = make_folder("a", "b")
    (root / "masks" / "b.png").rename(root / "masks" / "b.npz")
    with pytest.raises(UserError, match=r"b\.png has no mask.*1 file skipped.*\(1 \.npz\)"):
        open_folder(root)


def test_names_that_are_no_utf_8_are_held_out_too() -> None:
    items = [Item(name, Path(name), None) for name in ("a", "\udcff", "ü")]
    train, val = hold_out(items, 0.3)
    assert len(train) + len(val) == 3
