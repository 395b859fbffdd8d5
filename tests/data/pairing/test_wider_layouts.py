"""Folders of other names, masks beside images, and constants in names: paired, said, or refused."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from segmenter.data.folder import LabelledFolder, open_folder
from segmenter.errors import UserError
from segmenter.options import Pairs
from tests.helpers.data_sets import write_pair
from tests.helpers.models import make_classes


def written(root: Path, *files: tuple[str, str]) -> dict[str, str]:
    """Write images and masks by their paths inside a folder, and return these."""
    for image, mask in files:
        write_pair(root / image, root / mask)
    return dict(files)


def opened(root: Path, **pairs: Any) -> LabelledFolder:
    return open_folder(root, make_classes(2), pairs=Pairs(**pairs))


def found(root: Path) -> dict[str, str]:
    return {
        item.image.relative_to(root).as_posix(): item.mask.relative_to(root).as_posix()
        for items in opened(root).splits.values()
        for item in items
        if item.mask
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img/{}.jpg", "labels/{}.png"),
        ("Images/{}.JPG", "Masks/{}.PNG"),
        ("rgb/{}.png", "ground_truth/{}.png"),
        ("input/{}.jpg", "target/{}.png"),
        ("images/{}.jpg", "annotations/{}_m.png"),
        ("images/img_{}.jpg", "masks/mask_{}.png"),
        ("img/{}.jpg", "lbl/lbl_{}.png"),
        ("train/{}.jpg", "train_masks/{}_mask.png"),
        ("images/{}.jpg", "images_masks/{}.png"),
        (
            "leftImg8bit/train/aachen/{}_leftImg8bit.png",
            "gtFine/train/aachen/{}_gtFine_labelIds.png",
        ),
        ("images/{}.jpg", "images/{}_mask.png"),
        ("{}.jpg", "{}.png"),
        ("{}.png", "{}_mask.png"),
        ("{}.png", "mask-{}.png"),
        ("{}_sat.jpg", "{}_seg.png"),
    ],
)
def test_layouts_people_have_are_paired(image: str, mask: str, tmp_path: Path) -> None:
    names = ("a1", "b2", "c_3")
    expected = written(tmp_path, *((image.format(each), mask.format(each)) for each in names))
    assert found(tmp_path) == expected


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{0}/rgb/{1}.jpg", "{0}/gt/{1}.png"),
        ("{0}/images/{1}.jpg", "{0}/masks/{1}_mask.png"),
        ("{0}/{1}.png", "{0}annot/{1}.png"),
        ("{0}/{1}.jpg", "{0}_labels/{1}.png"),
        ("images/{0}/{1}.jpg", "masks/{0}/{1}-m.png"),
        ("rgb/{0}/{1}.jpg", "gt/{0}/{1}.png"),
        ("{0}/{1}.jpg", "{0}/{1}_mask.png"),
    ],
)
def test_split_folders_of_such_layouts_are_splits(image: str, mask: str, tmp_path: Path) -> None:
    expected = {}
    for split in ("train", "val"):
        for name in ("a1", "b2"):
            expected |= written(tmp_path, (image.format(split, name), mask.format(split, name)))
    assert found(tmp_path) == expected
    assert {name: len(items) for name, items in opened(tmp_path).splits.items()} == {
        "train": 2,
        "val": 2,
    }


def test_the_note_gives_rule_and_counts_and_can_be_turned_off(tmp_path: Path) -> None:
    for split in ("train", "val"):
        files = ((f"{split}/img/{n}.jpg", f"{split}/labels/{n}.png") for n in "ab")
        written(tmp_path, *files)
    note = "paired 4 of 4 images with masks: {split}/img/{}.jpg with {split}/labels/{}.png"
    assert opened(tmp_path).pairing_note == note
    assert opened(tmp_path, pairing_note=False).pairing_note == ""


@pytest.mark.parametrize("pairs", [{}, {"images": "{}.jpg", "masks": "{}_mask.png"}])
def test_formats_that_are_not_read_are_counted_beside_masks_and_by_pattern(
    pairs: dict[str, str], tmp_path: Path
) -> None:
    written(tmp_path, ("a.jpg", "a_mask.png"))
    (tmp_path / "b.heic").write_bytes(b"x")
    (problem,) = opened(tmp_path, **pairs).problems
    assert problem.kind == "format-not-read"
    assert "1 .heic" in problem.message


def test_one_name_in_images_and_masks_needs_no_note(tmp_path: Path) -> None:
    written(tmp_path, ("images/a.jpg", "masks/a.png"))
    assert opened(tmp_path).pairing_note == ""


def test_the_patterns_of_a_note_pair_the_same_files(tmp_path: Path) -> None:
    written(tmp_path, *((f"img/{n}_rgb.jpg", f"gt/{n}_seg.png") for n in ("a1", "b2")))
    words = opened(tmp_path).pairing_note.split(": ")[1].split(" with ")
    again = opened(tmp_path, images=words[0], masks=words[1])
    expected = {item.image: item.mask for item in opened(tmp_path).splits["all"]}
    assert {item.image: item.mask for item in again.splits["all"]} == expected


def test_names_in_either_form_of_unicode_are_one(tmp_path: Path) -> None:
    image, mask = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))
    expected = written(tmp_path, (f"images/{image}.jpg", f"masks/{mask}.png"))
    assert found(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            [("images/a.jpg", "masks/a_mask.png"), ("images/b.jpg", "masks/b_odd.png")],
            r"may have the mask .*; say which, such as --images 'images/\{\}.jpg' --masks 'masks/",
        ),
        (
            [("images/a.jpg", "masks/a_x.png"), ("images/a.jpg", "masks/a_y.png")],
            r"a may have the mask .*a_[xy].png or .*a_[xy].png; say which",
        ),
        (
            [("rgb/a.jpg", "gt/a.png"), ("raw/a.jpg", "gt/a.png")],
            "raw and .*rgb may both be the folder of images; say which with --images",
        ),
        (
            [("rgb/a.jpg", "gt/a.png"), ("rgb/a.jpg", "target/a.png")],
            "gt and .*target may both be the folder of masks",
        ),
    ],
)
def test_what_is_not_clear_is_refused_in_one_line(
    files: list[tuple[str, str]], message: str, tmp_path: Path
) -> None:
    written(tmp_path, *files)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_a_folder_of_images_alone_is_no_data_set(tmp_path: Path) -> None:
    for name in "abc":
        write_pair(tmp_path / f"{name}.jpg", None)
    write_pair(tmp_path / "a.png", None)
    with pytest.raises(UserError, match=r"has no folder 'images'.*or write a list"):
        opened(tmp_path)


def test_images_without_masks_are_reported_as_with_the_same_name(tmp_path: Path) -> None:
    written(tmp_path, *((f"images/{n}.jpg", f"masks/{n}_m.png") for n in ("a1", "b2", "c3")))
    write_pair(tmp_path / "images/d4.jpg", None)
    with pytest.raises(UserError, match=r"1 of 4 images have no mask; the first: .*d4_m\.png"):
        opened(tmp_path)


def test_folders_of_the_first_table_are_taken_before_others(tmp_path: Path) -> None:
    expected = written(tmp_path, ("images/a.jpg", "masks/a.png"))
    written(tmp_path, ("rgb/a.jpg", "gtFine/a.png"), ("raw/a.jpg", "target/a.png"))
    assert found(tmp_path) == expected


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.jpg", "masks/{}.png"),
        ("images/{}.jpg", "labels/{}_seg.png"),
        ("img_dir/train/{}.jpg", "ann_dir/train/{}.png"),
        ("train/images/{}.png", "train/masks/{}_mask.png"),
        ("images/{}.jpg", "masks/{}.jpg.png"),
    ],
)
def test_what_the_first_tables_read_whole_is_not_looked_at_again(
    image: str, mask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a data set that is read as before was looked at again")

    expected = written(tmp_path, *((image.format(each), mask.format(each)) for each in "abc"))
    for name in ("find_rules", "find_wider_places", "find_beside"):
        monkeypatch.setattr(f"segmenter.data.pairing.pair.{name}", fail)
    assert found(tmp_path) == expected


def test_masks_far_below_a_folder_do_not_make_it_a_data_set(tmp_path: Path) -> None:
    written(tmp_path, ("a/b/c/d/e/x.jpg", "a/b/c/d/e/x_mask.png"))
    with pytest.raises(UserError, match="has no folder 'images'"):
        opened(tmp_path)


def test_one_odd_file_does_not_hide_that_masks_lie_beside_images(tmp_path: Path) -> None:
    written(tmp_path, *((f"{name}.jpg", f"{name}.png") for name in "abc"))
    (tmp_path / "c.png").rename(tmp_path / "odd.tif")
    with pytest.raises(UserError, match=r"1 of 3 images have no mask; the first: .*c\.jpg"):
        opened(tmp_path)


def test_a_split_of_one_letter_is_found_in_the_right_folder(tmp_path: Path) -> None:
    files = (("images_a/x.jpg", "masks_a/x_mask.png"), ("images_b/x.jpg", "masks_b/x_mask.png"))
    written(tmp_path, *files)
    assert "images_{split}/{}.jpg with masks_{split}/{}_mask.png" in opened(tmp_path).pairing_note
