"""Colour jitter as PaddleSeg and the paper's code do it."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from segmenter.data.jitter import _change_hsv, _grey, _look_up, jitter_colors

LEVELS = np.arange(256.0)


@pytest.fixture
def colorful() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC))


class Scripted(np.random.Generator):
    """Draws what a test says: `random` below or above 0.5, `uniform` and `permutation` as given."""

    def __init__(self, order: list[str], do: str, factor: float):
        super().__init__(np.random.PCG64(0))
        self.order, self.do, self.factor = order, do, factor
        self.draws = iter(order)

    def permutation(self, _):
        return self.order

    def random(self):
        return 0.0 if next(self.draws) == self.do else 1.0

    def uniform(self, low, high):
        assert low <= self.factor <= high
        return self.factor


@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.37])
def test_paddleseg_changes_are_those_of_pillow(change, enhancer, factor, colorful) -> None:
    rng = Scripted(["brightness", "contrast", "saturation", "hue"], change, factor)
    expected = np.array(enhancer(Image.fromarray(colorful)).enhance(factor)).astype(int)
    assert np.abs(jitter_colors(colorful, "paddleseg", rng) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["paddleseg", "segmenter"])
def test_strength_and_order_are_drawn_and_the_input_is_left_alone(kind, colorful) -> None:
    before = colorful.copy()
    made = [jitter_colors(colorful, kind, np.random.default_rng(seed)) for seed in range(8)]
    assert len({image.tobytes() for image in made}) > 5
    assert all(image.dtype == np.uint8 and image.shape == colorful.shape for image in made)
    assert np.array_equal(colorful, before)


def test_none_changes_nothing(colorful) -> None:
    assert jitter_colors(colorful, "none", np.random.default_rng(0)) is colorful


@pytest.mark.parametrize("kind", ["paddleseg", "segmenter"])
def test_without_rgb_only_brightness_and_contrast_change(kind) -> None:
    constant = np.full((4, 4, 5), 100, dtype=np.uint8)
    made = [jitter_colors(constant, kind, np.random.default_rng(seed)) for seed in range(20)]
    assert len({image.tobytes() for image in made}) > 5
    assert all((image == image[0, 0, 0]).all() for image in made)


@pytest.mark.parametrize("turn", [180, 256])
def test_a_full_turn_of_hue_gives_the_colors_back(turn, colorful) -> None:
    same = _change_hsv(colorful, (LEVELS + turn) % turn, turn, LEVELS)
    assert np.abs(same.astype(int) - colorful).max() <= 8


def test_a_third_of_a_turn_makes_red_green() -> None:
    red = np.array([[[255, 0, 0]]], dtype=np.uint8)
    assert _change_hsv(red, (LEVELS + 60) % 180, 180, LEVELS).tolist() == [[[0, 255, 0]]]


def test_no_saturation_is_grey(colorful) -> None:
    grey = _change_hsv(colorful, LEVELS, 180, LEVELS * 0)
    assert (grey == grey[:, :, :1]).all()


def test_levels_are_clipped_and_not_wrapped(colorful) -> None:
    assert (_look_up(colorful, LEVELS + 300) == 255).all()
    assert (_look_up(colorful, LEVELS - 300) == 0).all()


def test_grey_of_many_channels_is_their_mean() -> None:
    assert _grey(np.array([[[0, 10, 20, 30]]], dtype=np.uint8)).tolist() == [[15]]
