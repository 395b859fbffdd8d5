"""What a model wants of images that are not RGB of 8 bits."""

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from segmenter.errors import UserError
from segmenter.image_spec import ImageSpec, ImageType, by_opencv, choose_bands
from segmenter.model import Segmenter
from tests.helpers.models import make_spec


def make_image(**changes: object) -> ImageSpec:
    fields = {"file_bands": 4, "dtype": "uint16", "bands": (4, 1), "low": (10, 0), "high": (20, 5)}
    return ImageSpec.model_validate(fields | changes)


def test_stretching_puts_the_range_on_0_to_255() -> None:
    values = np.array([[[10, 0], [20, 5], [15, 5]]], dtype=np.uint16)
    np.testing.assert_allclose(
        make_image().stretch(values), [[[0, 0], [255, 255], [127.5, 255]]], rtol=1e-6
    )


def test_values_more_than_one_range_outside_are_clipped() -> None:
    levels = make_image().stretch(np.array([[[65535, 65535], [0, 0]]], dtype=np.uint16))
    np.testing.assert_allclose(levels, [[[510, 510], [-255, 0]]])


def test_unstretching_undoes_stretching() -> None:
    values = np.random.default_rng(0).uniform(9, 19, (5, 6, 2)).astype(np.float32)
    image = make_image(dtype="float32", high=(20, 30))
    np.testing.assert_allclose(image.unstretch(image.stretch(values)), values, rtol=1e-5)


def test_bytes_of_the_full_range_stay_what_they_are() -> None:
    image = choose_bands("all", ImageType(5, "uint8"))
    values = np.random.default_rng(0).integers(0, 256, (4, 4, 5), np.uint8)
    np.testing.assert_array_equal(image.stretch(values), values)


def test_a_model_normalises_as_the_spec_stretches() -> None:
    image = make_image()
    spec = make_spec(in_channels=2)
    spec = spec.model_copy(update={"classes": spec.classes.with_image(image)})
    values = np.random.default_rng(0).integers(0, 40, (3, 4, 2)).astype(np.float32)
    pixels = torch.from_numpy(np.moveaxis(values, 2, 0).copy())[None]
    expected = (image.stretch(values) - 127.5) / 127.5
    found = Segmenter(spec).normalize(pixels)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_picture_shows_the_first_three_channels() -> None:
    image = choose_bands((4, 3, 2, 1), ImageType(4, "uint8"))
    values = np.random.default_rng(0).integers(0, 256, (4, 4, 4), np.uint8)
    np.testing.assert_array_equal(image.show(image.choose(values)), values[:, :, [3, 2, 1]])


def test_an_empty_range_becomes_one_wide() -> None:
    image = make_image().with_range([3, 0], [3, 5])
    assert (image.low, image.high) == ((3, 0), (4, 5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": (5, 1)}, "bands has 5, but the images have 4"),
        ({"bands": (1,)}, "bands, low and high have 1, 2 and 2"),
        ({"low": (20, 0)}, "low must be below high"),
        ({"dtype": "int8"}, "dtype"),
        ({"bands": (0, 1)}, "bands"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_image(**changes)


def test_a_band_that_the_images_lack_is_refused() -> None:
    with pytest.raises(UserError, match=r"bands has band 7, but the images have 4 bands"):
        choose_bands((7,), ImageType(4, "uint16"))


@pytest.mark.parametrize("channels", [1, 3, 128, 129, 256])
def test_opencv_treats_each_of_any_number_of_channels_as_it_treats_one(channels: int) -> None:
    pixels = np.random.default_rng(0).random((9, 7, channels), dtype=np.float32)
    found = by_opencv(lambda group: cv2.resize(group, (5, 4)), pixels)
    alone = [cv2.resize(pixels[:, :, channel], (5, 4)) for channel in range(channels)]
    np.testing.assert_allclose(found, np.stack(alone, axis=-1), rtol=1e-5)
