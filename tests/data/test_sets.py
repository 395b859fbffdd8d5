"""Each published data set is read from its own layout, and its masks mean what they should."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.folder import read_labels, read_sample
from segmenter.data.published import SETS
from segmenter.data.published.open_data import open_data, split_name
from segmenter.errors import UserError
from tests.helpers import published_tables as tables
from tests.helpers.published_trees import SPLITS, write_tree

IGNORED = 255


def ade20k() -> tuple[list[str], list[tuple[int, ...]], dict[int, int]]:
    names, colors = tables.names_in(tables.ADE20K_NAMES), tables.colors_in(tables.ADE20K_COLORS)
    return names, colors, {0: IGNORED, **{value: value - 1 for value in range(1, 151)}}


def cityscapes() -> tuple[list[str], list[tuple[int, ...]], dict[int, int]]:
    names, colors = zip(*tables.CITYSCAPES.values(), strict=True)
    train_ids = {label_id: index for index, label_id in enumerate(sorted(tables.CITYSCAPES))}
    return list(names), list(colors), {v: train_ids.get(v, IGNORED) for v in [*range(34), 255]}


def pascal_context() -> tuple[list[str], list[tuple[int, ...]], dict[int, int]]:
    names = ["background", *sorted(tables.CONTEXT_CATEGORIES.values())]
    values = {**{value: value for value in range(60)}, 255: IGNORED}
    return names, tables.colors_in(tables.ADE20K_COLORS)[:60], values


def pascal_context_59() -> tuple[list[str], list[tuple[int, ...]], dict[int, int]]:
    names, colors, _ = pascal_context()
    values = {0: IGNORED, 255: IGNORED, **{value: value - 1 for value in range(1, 60)}}
    return names[1:], colors[1:], values


def pascal_voc() -> tuple[list[str], list[tuple[int, ...]], dict[int, int]]:
    values = {**{value: value for value in range(21)}, 255: IGNORED}
    return list(tables.PASCAL_VOC), list(tables.PASCAL_VOC.values()), values


def turned_hue(index: int) -> tuple[int, ...]:
    """Hues a golden angle apart, darker with each turn of 12."""
    brightness = (1.0, 0.75, 0.55)[index // 12 % 3]
    rgb = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, brightness)
    return tuple(round(255 * each) for each in rgb)


def coco_stuff() -> tuple[list[str], list[tuple[int, ...]], dict[int, int]]:
    labels = tables.names_in(tables.COCO_STUFF_LABELS)
    assert len(labels) == 182
    assert labels.count("-") == 11
    used = [value for value, label in enumerate(labels) if label != "-"]
    values = {**{value: index for index, value in enumerate(used)}, 255: IGNORED}
    # The published colours repeat; these are the package's own.
    return [labels[v] for v in used], [turned_hue(index) for index in range(171)], values


TABLES = {
    table.__name__: table
    for table in (ade20k, cityscapes, pascal_context, pascal_context_59, pascal_voc, coco_stuff)
}


def test_all_sets_are_in_this_test() -> None:
    assert set(TABLES) == set(SETS) == set(SPLITS)


@pytest.mark.parametrize("name", TABLES)
def test_names_order_and_colors_are_the_data_sets_own(name: str, tmp_path: Path) -> None:
    names, colors, _ = TABLES[name]()
    classes = open_data(f"{name}:{write_tree(name, tmp_path)}").classes
    assert list(classes.names) == names
    assert classes.colors.tolist() == [list(color) for color in colors]


def test_the_packages_own_colors_of_coco_stuff_differ() -> None:
    assert len(set(coco_stuff()[1])) == 171


@pytest.mark.parametrize("name", TABLES)
def test_every_mask_value_becomes_its_class(name: str, tmp_path: Path) -> None:
    values = TABLES[name]()[2]
    root = write_tree(name, tmp_path, values=list(values))
    item = open_data(f"{name}:{root}").items("val")[0]
    labels = read_labels(item, open_data(f"{name}:{root}").classes)
    assert labels.ravel()[: len(values)].tolist() == list(values.values())


@pytest.mark.parametrize("name", TABLES)
def test_any_other_mask_value_is_refused(name: str, tmp_path: Path) -> None:
    known = TABLES[name]()[2]
    for value in range(256):
        if value not in known:
            data = open_data(f"{name}:{write_tree(name, tmp_path / str(value), values=[value])}")
            with pytest.raises(UserError, match=f"value {value} at .* belongs to no class"):
                read_labels(data.items("val")[0], data.classes)
            break


@pytest.mark.parametrize("name", SPLITS)
def test_images_and_masks_pair_up_in_each_split(name: str, tmp_path: Path) -> None:
    data = open_data(f"{name}:{write_tree(name, tmp_path)}")
    assert set(data.splits) == {"train", "val"}
    assert data.scored == "val"
    for split, names in SPLITS[name].items():
        assert [item.name for item in data.items(split)] == names
        for item in data.items(split):
            assert item.mask is not None
            assert item.mask.stem[:10] == item.image.stem[:10]
    assert read_sample(data.items("train")[0], data.classes).labels.shape == (16, 16)
    assert data.items("validation") == data.items("val2017") == data.items("val")
    assert data.items("training", "val") == data.items("train") + data.items("val")


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("ade20k", "images/testing/ADE_test_00000001.jpg"),
        ("cityscapes", "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png"),
        ("coco_stuff", "images/test2017/000000000001.jpg"),
    ],
)
def test_images_of_the_test_split_have_no_masks(name: str, image: str, tmp_path: Path) -> None:
    root = write_tree(name, tmp_path)
    (root / image).parent.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(root / image)
    data = open_data(f"{name}:{root}")
    (item,) = data.items("test")
    assert item.mask is None
    with pytest.raises(UserError, match="no mask; add one"):
        read_labels(item, data.classes)


def test_the_images_of_the_voc_test_are_those_of_its_list(tmp_path: Path) -> None:
    root = write_tree("pascal_voc", tmp_path)
    (root / "ImageSets/Segmentation/test.txt").write_text("2008_000002\n")
    (item,) = open_data(f"pascal_voc:{root}").items("test")
    assert (item.name, item.mask) == ("2008_000002", None)


@pytest.mark.parametrize("name", SPLITS)
def test_one_labelled_split_is_enough_to_score_on(name: str, tmp_path: Path) -> None:
    root = write_tree(name, tmp_path, only=("val",))
    assert set(open_data(f"{name}:{root}").splits) == {"val"}


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ade20k", "has no folder 'images/training'; ade20k is laid out as images/training/"),
        ("cityscapes", "has no folder 'leftImg8bit/train'; cityscapes is laid out as"),
        ("pascal_context", "no file 'ImageSets/SegmentationContext/train.txt'; pascal_context is"),
        ("pascal_voc", "no file 'ImageSets/Segmentation/train.txt'; pascal_voc is laid out as"),
        ("coco_stuff", "has no folder 'images/train2017'; coco_stuff is laid out as"),
    ],
)
def test_a_folder_without_the_layout_is_told_what_is_missing(
    name: str, missing: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        open_data(f"{name}:{tmp_path}")
    assert missing in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_folder_of_masks_is_named(tmp_path: Path) -> None:
    root = write_tree("ade20k", tmp_path)
    (root / "annotations").rename(root / "masks")
    with pytest.raises(UserError, match="has no folder 'annotations/training'"):
        open_data(f"ade20k:{root}")


def test_a_image_without_mask_is_refused_and_a_mask_without_image_is_not(tmp_path: Path) -> None:
    root = write_tree("cityscapes", tmp_path)
    image = next((root / "leftImg8bit/train").rglob("*.png"))
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(
        root / "gtFine/val/frankfurt/frankfurt_000009_000009_gtFine_labelIds.png"
    )
    assert len(open_data(f"cityscapes:{root}").items("val")) == 2
    mask = next((root / "gtFine/train").rglob(f"{image.stem[:10]}*_labelIds.png"))
    mask.unlink()
    with pytest.raises(UserError, match=f"1 of 2 images have no mask.*expected {mask}"):
        open_data(f"cityscapes:{root}")


def test_a_list_that_names_no_image_is_refused(tmp_path: Path) -> None:
    root = write_tree("pascal_voc", tmp_path)
    path = root / "ImageSets/Segmentation/val.txt"
    for text, message in (
        ("2008_000002\n2011_999999\n", "line 2: no such file: .*2011_999999.jpg"),
        ("2008_000002\n\n2008_000002\n", "2008_000002.jpg is listed twice"),
        ("\n", "names no image"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            open_data(f"pascal_voc:{root}")


def test_an_empty_folder_of_images_and_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    root = write_tree("ade20k", tmp_path)
    image = root / "images/validation/ADE_val_00000001.jpg"
    Image.new("RGB", (16, 16)).save(image.with_suffix(".png"))
    with pytest.raises(UserError, match="differ only in suffix"):
        open_data(f"ade20k:{root}")
    for each in image.parent.iterdir():
        each.unlink()
    with pytest.raises(UserError, match=r"no image in .*validation"):
        open_data(f"ade20k:{root}")


def test_a_wrong_name_lists_the_names_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no published data set 'ade2k', did you mean 'ade20k'\?"):
        open_data("ade2k:data")
    with pytest.raises(UserError, match=r"did you mean 'pascal_context'\?; there are ade20k, city"):
        open_data("Pascal-Context:data")
    with pytest.raises(UserError, match="names no folder; write ade20k:PATH"):
        open_data("ade20k:")
    with pytest.raises(UserError, match="no such folder: nowhere"):
        open_data("ade20k:nowhere")


def test_paths_are_not_taken_for_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (r"C:\data", "c:/data", "data", "./ade20k:data", "my data:set", "/a/ade20k:b"):
        assert split_name(path) is None
    monkeypatch.chdir(tmp_path)
    Path("odd:name").mkdir()
    assert split_name("odd:name") is None
    named = split_name("pascal_context:data/VOCdevkit/VOC2010")
    assert named is not None
    assert (named[0].name, named[1]) == ("pascal_context", Path("data/VOCdevkit/VOC2010"))
