"""A preset is proposed where images and masks show which one suits, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segmenter.classes import Classes, ClassInfo
from segmenter.data.folder import open_folder
from segmenter.data.masks.inspection import MaskFacts
from segmenter.data.masks.layout import class_layout
from segmenter.extras.checking.item_inspection import Inspection, _image_facts, inspect
from segmenter.extras.checking.preset_proposal import PresetProposal, propose_preset
from tests.helpers.paths import SHARED
from tests.helpers.skips import NOT_HERE

SIDE = 96
Draw = Callable[[np.random.Generator], np.ndarray]


def blobs(rng: np.random.Generator) -> np.ndarray:
    """Squares anywhere."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(12):
        row, column = rng.integers(-10, SIDE, 2)
        mask[max(row, 0) : row + 14, max(column, 0) : column + 14] = 1
    return mask


def sky(rng: np.random.Generator) -> np.ndarray:
    mask = blobs(rng)
    mask[: rng.integers(20, 50)] = 2
    return mask


def left_sky(rng: np.random.Generator) -> np.ndarray:
    return sky(rng).T


def centred(rng: np.random.Generator) -> np.ndarray:
    """One object amid the image."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    first, last = rng.integers(20, 40), rng.integers(56, 76)
    mask[first:last, first:last] = 1
    return mask


def text(rng: np.random.Generator) -> np.ndarray:
    """Lines of words on a page."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for row in range(int(rng.integers(6)), SIDE, 8):
        mask[row : row + 3] = 1
    return mask


def proposal(draw: Draw, color: tuple[int, int, int], count: int = 30) -> PresetProposal:
    """Of images of a colour, with noise."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        labels = draw(rng)
        noise = rng.integers(-5, 6, (SIDE, SIDE, 1))
        image = (np.array(color) + noise).astype(np.uint8)
        counts = np.bincount(labels.ravel(), minlength=3)
        mask = MaskFacts(counts, labels.size, layout=class_layout(labels, 3))
        found.append(Inspection(_image_facts(image, image), mask, ()))
    return propose_preset(found, ("a", "b", "c"))


COLOUR, GREY, PAPER = (90, 130, 60), (110, 110, 110), (235, 232, 225)


@pytest.mark.parametrize(
    ("draw", "color", "preset"),
    [
        (sky, COLOUR, "street"),
        (blobs, COLOUR, "aerial"),
        (blobs, GREY, "microscopy"),
        (text, PAPER, "documents"),
        (sky, PAPER, "documents"),
        (sky, GREY, None),
        (left_sky, COLOUR, None),
        (centred, COLOUR, None),
        (centred, GREY, None),
        (text, COLOUR, None),
        (blobs, PAPER, None),
    ],
)
def test_a_preset_is_proposed_where_the_images_show_it(
    draw: Draw, color: tuple[int, int, int], preset: str | None
) -> None:
    found = proposal(draw, color)
    assert found.preset == preset, found.line
    assert "\n" not in found.line


def test_a_few_images_show_nothing() -> None:
    for draw in (sky, blobs):
        found = proposal(draw, COLOUR, count=9)
        assert found.line == (
            "augment.preset: no proposal: fewer than 10 images with masks show too little"
        )


def test_a_class_that_is_everywhere_lies_in_the_centre_and_has_no_direction() -> None:
    layout = class_layout(np.ones((300, 200), np.uint16), 3)
    assert np.allclose(layout.places[1], [0, 0, 1 / 12, 1 / 12], atol=1e-4)
    assert np.isnan(layout.places[[0, 2]]).all()
    assert layout.anisotropy == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (64, 65), (500, 300)])
def test_turning_a_mask_turns_its_layout(size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 4, size).astype(np.uint8)
    labels[labels == 3] = 255
    upright, turned = class_layout(labels, 3), class_layout(labels.T, 3)
    assert np.allclose(upright.places[:, [1, 0, 3, 2]], turned.places, equal_nan=True)
    assert upright.anisotropy == pytest.approx(-turned.anisotropy)


@pytest.mark.parametrize("split", ["train", "test"])
def test_camvid_is_street(camvid: Path, split: str) -> None:
    data = open_folder(camvid)
    found = [inspect(item, data.classes) for item in data.items(split)[::6]]
    proposed = propose_preset(found, data.classes.names)
    assert proposed.preset == "street"
    assert proposed.reason.startswith("'sky' lies towards the top")


def test_membrane_is_microscopy() -> None:
    membrane = SHARED / "data" / "membrane"
    if not membrane.is_dir():
        pytest.skip(f"{NOT_HERE}: the membrane data set at {membrane}")
    classes = Classes(
        classes=(
            ClassInfo(name="membrane", color=(0, 0, 0), values=(0,)),
            ClassInfo(name="cell", color=(255, 255, 255), values=(255,)),
        )
    )
    data = open_folder(membrane, classes=classes)
    found = [inspect(item, classes) for item in data.items("all")]
    assert propose_preset(found, classes.names).preset == "microscopy"
