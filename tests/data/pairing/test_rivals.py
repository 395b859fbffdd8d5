"""A second folder or a second mask that could be meant as well is refused, and both are named."""

from pathlib import Path

import pytest

from segmenter.data.folder import find_splits
from segmenter.data.pairing.pair import find_pairs
from segmenter.errors import UserError
from segmenter.options import Pairs
from tests.helpers.data_sets import write_pair


def written(root: Path, *files: str) -> Path:
    for name in files:
        write_pair(root / name, None)
    return root


PAIR = ("images/a.jpg", "masks/a.png")
OF_C = ("images/c.jpg", "masks/c.png", "masks/c_mask.png")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            [*PAIR, "labels/a.png"],
            r"masks and .*labels may both be the folder of masks; move one out of the data set, "
            r"or say which, such as --images 'images/\{\}\.\*' --masks 'masks/\{\}\.\*'",
        ),
        ([*PAIR, "photos/a.jpg"], "images and .*photos may both be the folder of images"),
        (
            ["train/images/a.jpg", "train/masks/a.png", "train/gt/a.png"],
            r"may both be the folder of masks.*--masks '\{split\}/masks/\{\}\.\*'",
        ),
        (
            ["train_images/a.jpg", "train_masks/a.png", "train_labels/a.png"],
            "train_masks and .*train_labels may both be the folder of masks",
        ),
        (
            [*PAIR, "masks/a.tif"],
            r"a\.png and .*a\.tif are masks of one image; remove one, or say which, such as "
            r"--images 'images/\{\}\.jpg' --masks 'masks/\{\}\.png'",
        ),
        ([*PAIR, "masks/a_mask.png"], r"a may have the mask .*a\.png or .*a_mask\.png; say which"),
        (
            [
                "images/b.jpg",
                "masks/b.png",
                "images/c.jpg",
                "masks/c.png",
                "masks/c_mask.png",
                *PAIR,
            ],
            r"c\.png and .*c_mask\.png are masks of one image; remove one",
        ),
        (
            [*PAIR, "masks/a_color.png", "images/b.jpg", "masks/b.png", "masks/b_color.png"],
            r"a may have the mask .*a\.png or .*a_color\.png; say which",
        ),
        (
            ["images/a.jpg", "masks/a_mask.png", "masks/a_gt.png"],
            r"a may have the mask .*a_mask\.png or .*a_gt\.png; say which",
        ),
    ],
)
def test_what_could_be_meant_as_well_is_refused(
    files: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        find_splits(written(tmp_path, *files))


@pytest.mark.parametrize(
    "others",
    [
        ["masks/c_mask.png"],  # of an image that is missing
        ["images/x_left.jpg", "masks/x_left.png", "masks/x_right.png"],
        ["labels/a.txt"],
        ["raw/a.jpg", "overlays/a.png"],
    ],
)
def test_what_belongs_to_no_image_is_no_second_mask(others: list[str], tmp_path: Path) -> None:
    written(tmp_path, *PAIR, *(name for name in others if not name.endswith(".txt")))
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_splits(tmp_path)["all"][0].mask == tmp_path / "masks/a.png"


def test_a_link_to_the_same_folder_is_no_second_one(tmp_path: Path) -> None:
    written(tmp_path, *PAIR)
    (tmp_path / "labels").symlink_to("masks", target_is_directory=True)
    assert len(find_splits(tmp_path)["all"]) == 1


def test_the_patterns_of_the_refusal_decide(tmp_path: Path) -> None:
    written(tmp_path, *PAIR, "labels/a.png", "masks/a.tif")
    pairs = Pairs(images="images/{}.jpg", masks="labels/{}.*")
    assert find_splits(tmp_path, pairs)["all"][0].mask == tmp_path / "labels/a.png"
    pairs = Pairs(images="images/{}.jpg", masks="masks/{}.tif")
    assert find_splits(tmp_path, pairs)["all"][0].mask == tmp_path / "masks/a.tif"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("labels/a.png", "masks and .*labels may both be the folder of masks"),
        ("masks/a.tif", "are masks of one image; remove one, or name the mask in the list"),
        ("masks/a_mask.png", "are masks of one image; remove one, or name the mask in the list"),
    ],
)
def test_a_list_of_names_alone_is_refused_too_and_one_that_names_masks_is_read(
    other: str, message: str, tmp_path: Path
) -> None:
    written(tmp_path, *PAIR, other)
    (tmp_path / "train.txt").write_text("a\n")
    with pytest.raises(UserError, match=message):
        find_splits(tmp_path)
    (tmp_path / "train.txt").write_text("images/a.jpg masks/a.png\n")
    assert find_splits(tmp_path)["train"][0].mask == tmp_path / "masks/a.png"


def test_the_check_lists_second_masks_and_goes_on(tmp_path: Path) -> None:
    written(tmp_path, *(f"images/{name}.jpg" for name in "abc"))
    written(tmp_path, *(f"masks/{name}.png" for name in "abc"), "masks/a_gt.png", "masks/b.bmp")
    found = find_pairs(tmp_path)
    assert [problem.kind for problem in found.problems] == ["several-masks"] * 2
    assert len(found.splits["all"]) == 3


@pytest.mark.parametrize("lines", ["", "images/caf\u00e9.jpg\nimages/cafe\u0301.jpg\n"])
def test_names_in_two_forms_of_unicode_share_no_mask(lines: str, tmp_path: Path) -> None:
    written(tmp_path, "images/caf\u00e9.jpg", "images/cafe\u0301.jpg", "masks/caf\u00e9.png")
    if lines:
        (tmp_path / "train.txt").write_text(lines)
    with pytest.raises(UserError, match=r"differ only in the encoding of their accents"):
        find_splits(tmp_path)


def test_names_in_two_forms_of_unicode_with_a_mask_each_are_two(tmp_path: Path) -> None:
    names = ("caf\u00e9", "cafe\u0301")
    written(tmp_path, *(f"images/{n}.jpg" for n in names), *(f"masks/{n}.png" for n in names))
    items = find_splits(tmp_path)["all"]
    assert sorted(each.mask.stem for each in items if each.mask) == sorted(names)
    assert all(each.mask and each.image.stem == each.mask.stem for each in items)


def test_two_images_on_a_list_share_no_mask_by_their_name(tmp_path: Path) -> None:
    written(tmp_path, *PAIR, "images/a.png")
    (tmp_path / "train.txt").write_text("a.jpg\na.png\n")
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png differ only in suffix"):
        find_splits(tmp_path)
