"""Label maps are drawn in the classes' colours, which can be told apart."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import load
from segmenter.classes.colors import distinct_colors
from segmenter.drawing import color_picture, label_map_png, label_png, palette_png


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("encode", [palette_png, label_map_png])
@pytest.mark.parametrize("count", [1, 2, 200, 255])
def test_pixels_of_a_palette_file_are_indices_and_look_like_the_colors(count, encode) -> None:
    colors, labels = distinct_colors(count), np.array([[0, count - 1, 255]], dtype=np.uint8)
    image = opened(encode(labels, colors, 255))
    np.testing.assert_array_equal(np.array(image), labels)
    expected = [[colors[0], colors[-1], [255, 255, 255]]]
    np.testing.assert_array_equal(np.array(image.convert("RGB")), expected)


def test_a_wide_label_map_of_few_classes_still_gets_a_palette() -> None:
    labels = np.array([[0, 1, 255]], dtype=np.uint16)
    assert opened(palette_png(labels, distinct_colors(2), 255)).mode == "P"


def test_more_classes_than_a_palette_holds_become_colors() -> None:
    colors, labels = distinct_colors(300), np.array([[0, 299, 65535]], dtype=np.uint16)
    pixels = np.array(opened(palette_png(labels, colors, 65535)))
    np.testing.assert_array_equal(pixels, color_picture(labels, colors, 65535))
    np.testing.assert_array_equal(pixels[0], [colors[0], colors[299], [255, 255, 255]])


def test_a_label_map_of_more_classes_than_a_palette_holds_is_grey_with_16_bits() -> None:
    labels = np.array([[0, 299, 65535]], dtype=np.uint16)
    image = opened(label_map_png(labels, distinct_colors(300), 65535))
    assert image.mode == "I;16"
    np.testing.assert_array_equal(np.array(image), labels)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[0, 7, 255]], dtype=np.uint8),
        np.array([[0, 256, 65535]], dtype=np.uint16),
        np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8),
    ],
)
def test_numbers_in_a_label_file_are_read_back_as_they_were(labels) -> None:
    read = np.array(opened(label_png(labels)))
    assert read.dtype == labels.dtype
    np.testing.assert_array_equal(read, labels)


def test_the_classes_of_the_bundled_model_can_be_told_apart_over_a_image() -> None:
    """Over mid grey at the page's opacity; 2.3 is what can just be seen side by side."""
    drawn = load("street").spec.classes.colors * 0.55 + 128 * 0.45
    lab = cv2.cvtColor((drawn[None] / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distances[~np.eye(len(lab), dtype=bool)].min() > 10
