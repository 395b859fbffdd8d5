"""Crops of images of any bands and type: float32, in the values of the files."""

import cv2
import numpy as np
import pytest

from segmenter.data.jitter import jitter_levels
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform, resize_window
from segmenter.recipe import AugmentRecipe
from tests.helpers.band_images import make_values, spec_of

KINDS = [("uint8", 5), ("uint16", 25), ("float32", 1)]


def crop(values: np.ndarray, seed: int = 0, **augment: object) -> np.ndarray:
    image = spec_of(values).with_range(values.min((0, 1)), values.max((0, 1)))
    recipe = AugmentRecipe(crop_size=32, **augment)
    transform = CropTransform(recipe, (120.0,) * image.channels, 255, image)
    labels = np.zeros(values.shape[:2], np.uint8)
    return transform(Sample(values, labels), np.random.default_rng(seed)).image


@pytest.mark.parametrize(("dtype", "bands"), KINDS)
def test_a_crop_without_changes_is_a_window_of_the_image(dtype: str, bands: int) -> None:
    values = make_values(32, 32, bands=bands, dtype=dtype)
    found = crop(values, scale=(1.0, 1.0), flip=0.0, color="none")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "bands"), KINDS)
def test_a_small_image_is_padded_with_the_mean_in_its_own_values(dtype: str, bands: int) -> None:
    values = make_values(20, 20, bands=bands, dtype=dtype)
    found = crop(values, scale=(1.0, 1.0), flip=0.0, color="none")
    low, high = (values.astype(np.float64).reshape(-1, bands).min(0), values.max((0, 1)))
    np.testing.assert_allclose(found[-1, -1], low + 120 / 255 * (high - low), rtol=1e-4)


@pytest.mark.parametrize(("dtype", "bands"), KINDS)
def test_part_of_an_enlarged_image_is_that_of_the_whole(dtype: str, bands: int) -> None:
    values = make_values(60, 70, bands=bands, dtype=dtype)
    rows, columns = slice(3, 28), slice(2, 30)
    whole = np.asarray(cv2.resize(values, (280, 240))).reshape(240, 280, bands)
    found = resize_window(values, (240, 280), rows, columns)
    np.testing.assert_allclose(found, whole[rows, columns], rtol=1e-3, atol=1.5)


@pytest.mark.parametrize("kind", ["paddleseg", "segmenter"])
def test_jitter_changes_all_bands_alike_and_by_the_seed_alone(kind: str) -> None:
    levels = np.full((4, 4, 6), 100, np.float32)
    found = [jitter_levels(levels, kind, np.random.default_rng(seed)) for seed in (3, *range(12))]
    np.testing.assert_array_equal(found[0], found[4])
    assert len({each[0, 0, 0].item() for each in found}) > 1
    assert all(np.ptp(each) < 1e-3 for each in found)
