"""Whatever `check` calls an error, `train` refuses, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmenter.data.decoding.set_bands import find_image_spec
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.problems import KINDS, Severity
from segmenter.data.published.open_data import open_data
from segmenter.errors import UserError
from segmenter.extras.checking.before_training import read_training_data, survey_data
from tests.helpers.drawn_items import draw_mask
from tests.helpers.planted_faults import PLANTED, check_folder, cut
from tests.helpers.runs import make_recipe


def read(root: Path, **options: Any) -> LabelledFolder:
    data = open_data(str(root))
    train = data.items("train")
    val = data.items("val") if "val" in data.splits else ()
    image = find_image_spec([item.image for item in train], None, data.classes.image)
    data = replace(data, classes=data.classes.with_image(image))
    read_training_data(data, train, val, **options)
    return data


@pytest.mark.parametrize(
    ("kind", "plant"), PLANTED, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(PLANTED)]
)
def test_training_refuses_what_check_calls_an_error(
    kind: str, plant: Callable[[Path], None], clean: Path
) -> None:
    plant(clean)
    if KINDS[kind].severity is Severity.ERROR:
        with pytest.raises(UserError):
            read(clean)
    else:
        read(clean)


def test_a_fault_in_a_split_that_is_not_used_is_refused_too(clean: Path) -> None:
    for folder in ("images", "masks"):
        (clean / folder / "val").rename(clean / folder / "test")
    cut("masks/test/e.png")(clean)
    assert not check_folder(clean).is_clean
    with pytest.raises(UserError, match=r"1 of 5 .*test/e\.png"):
        read(clean)


def test_an_image_in_two_lists_is_refused_by_its_name(clean: Path) -> None:
    (clean / "train.txt").write_text("train/a\ntrain/b\n")
    (clean / "val.txt").write_text("train/b\n")
    with pytest.raises(UserError, match=r"in two splits \(1\): .*b\.png .*\(train and val\)"):
        read(clean)


def test_few_damaged_images_to_train_on_are_spared_if_the_recipe_says_so(clean: Path) -> None:
    cut("images/train/a.png")(clean)
    read(clean, max_unreadable=0.4)
    with pytest.raises(UserError, match=r"1 images cannot be read, more than data\.max_unreadable"):
        read(clean, max_unreadable=0.01)
    cut("images/val/d.png")(clean)
    with pytest.raises(UserError, match=r"d\.png"):
        read(clean, max_unreadable=0.4)


def test_pixels_are_counted_for_each_item_to_train_on(clean: Path) -> None:
    data = open_data(str(clean))
    Image.fromarray(np.full((96, 128), 255, np.uint8)).save(clean / "masks/train/b.png")
    found = read_training_data(data, data.items("train"), data.items("val"), workers=2)
    first = [int((draw_mask(0) == value).sum()) for value in (0, 3, 9)]
    assert found.pixel_counts[:2].tolist() == [first, [0, 0, 0]]
    (problem,) = found.problems
    item = data.items("train")[1]
    assert (problem.kind, problem.paths) == ("all-ignored", (item.image, item.mask))


def test_bad_items_are_counted_and_the_first_is_explained(clean: Path) -> None:
    Image.new("L", (9, 9)).save(clean / "masks/train/b.png")
    Image.fromarray(np.full((96, 128), 77, np.uint8)).save(clean / "masks/train/c.png")
    with pytest.raises(UserError, match=r"2 of 5 .*b\.png has 9 x 9") as caught:
        read(clean)
    assert "\n" not in str(caught.value)


def test_no_items_have_no_counts(clean: Path) -> None:
    data = open_data(str(clean))
    assert read_training_data(data, (), data.items("val")).pixel_counts.shape == (0, 3)


def test_rare_classes_of_camvid_are_those_of_its_description(camvid: Path) -> None:
    whole = open_data(str(camvid))
    train = whole.items("train")[::6]
    data = replace(whole, splits={"train": train})
    counts = read_training_data(data, train, ()).pixel_counts.sum(axis=0)
    rare = {data.classes.names[index] for index in np.flatnonzero(counts < 0.02 * counts.sum())}
    assert rare == {"pole", "sign", "fence", "pedestrian", "bicyclist"}


@pytest.mark.parametrize(
    ("kept", "advice"),
    [("val/d", "add images to the split 'val'"), (None, "hold out more with --data.hold_out")],
)
def test_a_single_image_to_evaluate_on_is_warned_of(
    kept: str | None, advice: str, clean: Path
) -> None:
    for kind in ("images", "masks"):
        (clean / kind / "val/e.png").unlink()
        if kept is None:
            (clean / kind / "val/d.png").unlink()
    lines: list[str] = []
    survey_data(make_recipe(clean), lines.append)
    (line,) = [line for line in lines if "one image is evaluated on" in line]
    assert line.startswith("warning: ")
    assert advice in line


def test_images_of_which_no_pixel_is_labelled_are_not_trained_on(clean: Path) -> None:
    for mask in (clean / "masks/train").iterdir():
        Image.fromarray(np.full((96, 128), 255, dtype=np.uint8)).save(mask)
    with pytest.raises(UserError, match="every pixel of the images to train on is ignored"):
        survey_data(make_recipe(clean), print)
