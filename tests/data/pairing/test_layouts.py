"""Common layouts and endings are paired; what fits none is told of lists."""

from pathlib import Path

import pytest

from segmenter.data.folder import find_splits, open_folder
from segmenter.data.training_split import training_items
from segmenter.errors import UserError
from tests.helpers.data_sets import write_pair
from tests.helpers.runs import make_recipe


def pairs(root) -> dict[str, list[tuple[str, str]]]:
    return {
        split: [
            (str(item.image.relative_to(root)), str(item.mask.relative_to(root))) for item in items
        ]
        for split, items in find_splits(root).items()
    }


@pytest.mark.parametrize(
    "ending", ["_mask", "_masks", "_segmentation", "_seg", "_label", "_labels", "_gt", ".jpg"]
)
def test_masks_with_an_ending_are_paired_if_all_fit(ending, tmp_path: Path) -> None:
    for name in "ab":
        write_pair(tmp_path / f"images/{name}.jpg", tmp_path / f"masks/{name}{ending}.png")
    expected = [(f"images/{name}.jpg", f"masks/{name}{ending}.png") for name in "ab"]
    assert pairs(tmp_path) == {"all": expected}
    (tmp_path / "train.txt").write_text("a\nb\n")
    assert pairs(tmp_path) == {"train": expected}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{}/images", "{}/masks"),
        ("{}/images", "{}/labels"),
        ("{}_images", "{}_masks"),
        ("images_{}", "masks_{}"),
        ("img_dir/{}", "ann_dir/{}"),
        ("images/{}", "labels/{}"),
        ("images/{}", "annotations/{}"),
    ],
)
def test_split_folders_of_common_layouts_are_found(images, masks, tmp_path: Path) -> None:
    expected = {}
    for split in ("train", "val"):
        image, mask = f"{images.format(split)}/a.jpg", f"{masks.format(split)}/a.png"
        write_pair(tmp_path / image, tmp_path / mask)
        expected[split] = [(image, mask)]
    assert pairs(tmp_path) == expected


def test_a_folder_of_another_layout_is_told_of_lists(tmp_path: Path) -> None:
    write_pair(tmp_path / "a.jpg", tmp_path / "b.png")
    with pytest.raises(UserError, match=r"has no folder 'images'.*or write a list"):
        find_splits(tmp_path)


def test_folders_of_classes_are_told_of_the_flag_that_names_splits(make_folder) -> None:
    root = make_folder("a/x", "b/y", "c/z")
    recipe = make_recipe(root)
    with pytest.raises(UserError, match=r"no split 'train'.*--data\.train '\[a,b,c\]'"):
        training_items(recipe, open_folder(root))


@pytest.mark.parametrize("inside", ["images", "masks"])
def test_a_folder_inside_a_data_set_is_told_which_to_give(inside: str, tmp_path: Path) -> None:
    write_pair(tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
    with pytest.raises(UserError, match=f"give the folder that holds it, {tmp_path}$"):
        find_splits(tmp_path / inside)
