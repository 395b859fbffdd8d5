"""`--images PATTERN --masks PATTERN` says outright what belongs together."""

from pathlib import Path

import pytest

from segmenter.data.folder import open_folder
from segmenter.data.published.open_data import open_data
from segmenter.errors import UserError
from segmenter.options import Pairs
from tests.helpers.data_sets import write_pair
from tests.helpers.models import make_classes


def splits(root: Path, images: str, masks: str) -> dict[str, dict[str, str]]:
    folder = open_folder(root, make_classes(2), pairs=Pairs(images=images, masks=masks))
    assert folder.pairing_note == ""
    return {
        split: {item.name: item.mask.name for item in items if item.mask}
        for split, items in folder.splits.items()
    }


@pytest.mark.parametrize(
    ("images", "masks", "file", "mask"),
    [
        ("a/{}.jpg", "b/{}.png", "a/x.jpg", "b/x.png"),
        ("a/{}", "b/{}.*", "a/x.JPG", "b/x.tif"),
        ("a/{}.jpg", "a/m_{}.png", "a/x.JPG", "a/m_x.png"),
        ("{}.png", "{}_m.png", "x.png", "x_m.png"),
        ("m/{}_i.png", "m/{}.png", "m/x_i.png", "m/x.png"),
        ("./a/{}.jpg", "b/*/{}.png", "a/x.jpg", "b/deep/x.png"),
        ("a\\{}.jpg", "b\\{}.png", "a/x.jpg", "b/x.png"),
    ],
)
def test_files_that_share_what_stands_in_the_braces_are_paired(
    images: str, masks: str, file: str, mask: str, tmp_path: Path
) -> None:
    write_pair(tmp_path / file, tmp_path / mask)
    assert splits(tmp_path, images, masks) == {"all": {"x": Path(mask).name}}


def test_folders_within_the_braces_are_splits_as_is_a_named_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_pair(tmp_path / f"i/{split}/k/x_i.jpg", tmp_path / f"m/{split}/k/x_m.png")
    expected = {split: {f"{split}/k/x": "x_m.png"} for split in ("train", "val")}
    assert splits(tmp_path, "i/{}_i.jpg", "m/{}_m.png") == expected
    named = {split: {f"{split}/x": "x_m.png"} for split in ("train", "val")}
    assert splits(tmp_path, "i/{split}/k/{}_i.jpg", "m/{split}/k/{}_m.png") == named


def test_patterns_choose_among_families_of_masks(tmp_path: Path) -> None:
    for ending in ("_color", "_labelIds"):
        write_pair(tmp_path / "images/x.jpg", tmp_path / f"masks/x{ending}.png")
    found = splits(tmp_path, "images/{}.jpg", "masks/{}_labelIds.png")
    assert found == {"all": {"x": "x_labelIds.png"}}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (Pairs(images="a/{}.jpg"), "--masks is missing: give both patterns"),
        (Pairs(masks="a/{}.jpg"), "--images is missing"),
        (
            Pairs(images="a/*.jpg", masks="b/{}.png"),
            r"--images 'a/\*.jpg': a pattern has \{\} once",
        ),
        (Pairs(images="a/{}.jpg", masks="b/{}{}.png"), r"a pattern has \{\} once"),
        (Pairs(images="a/{id}.jpg", masks="b/{}.png"), r"--images 'a/\{id\}.jpg'"),
        (Pairs(images="{split}/{}.jpg", masks="b/{}.png"), r"must both have \{split\}"),
        (Pairs(images="c/{}.jpg", masks="b/{}.png"), r"--images c/\{\}.jpg: no such folder: .*c"),
        (Pairs(images="a/y{}.jpg", masks="b/{}.png"), "no image fits --images .*x.jpg"),
        (
            Pairs(images="a/{}.jpg", masks="b/{}_m.png"),
            "no mask fits --masks .*, for example, .*b/x.png",
        ),
    ],
)
def test_patterns_that_pair_nothing_are_refused(pairs: Pairs, message: str, tmp_path: Path) -> None:
    write_pair(tmp_path / "a/x.jpg", tmp_path / "b/x.png")
    with pytest.raises(UserError, match=message):
        open_folder(tmp_path, make_classes(2), pairs=pairs)


def test_patterns_are_refused_beside_lists_and_for_published_sets(tmp_path: Path) -> None:
    write_pair(tmp_path / "a/x.jpg", tmp_path / "b/x.png")
    (tmp_path / "train.txt").write_text("a/x.jpg b/x.png\n")
    pairs = Pairs(images="a/{}.jpg", masks="b/{}.png")
    with pytest.raises(UserError, match=r"train.txt is a list of images; give the list itself"):
        open_folder(tmp_path, make_classes(2), pairs=pairs)
    with pytest.raises(UserError, match="is a list, which names its images itself"):
        open_folder(tmp_path / "train.txt", make_classes(2), pairs=pairs)
    with pytest.raises(UserError, match="has a layout of its own"):
        open_data(f"ade20k:{tmp_path}", pairs=pairs)


def test_an_image_without_a_mask_is_not_told_of_the_patterns_that_are_given(tmp_path: Path) -> None:
    write_pair(tmp_path / "a/x.jpg", tmp_path / "b/x.png")
    write_pair(tmp_path / "a/y.jpg", None)
    with pytest.raises(UserError, match=r"y\.jpg has no mask; expected .*b/y\.png$"):
        open_folder(tmp_path, make_classes(2), pairs=Pairs(images="a/{}.jpg", masks="b/{}.png"))
