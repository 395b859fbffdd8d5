"""Crops are windows of the resized image, whatever its size."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segmenter.data.decoding.decode import decode_image
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform, resize_labels_window, resize_window
from segmenter.recipe import AugmentRecipe

MEAN = (1.0, 2.4, 127.5)
PLAIN = CropTransform(
    AugmentRecipe(crop_size=32, scale=(1.0, 1.0), flip=0.0, color="none"), MEAN, ignore_index=255
)


def make_rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(height: int, width: int, seed: int = 0) -> Sample:
    rng = make_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(image, rng.integers(0, 5, (height, width), dtype=np.uint8))


def changed(mean: tuple[float, ...] = MEAN, **fields: object) -> CropTransform:
    augment = AugmentRecipe.model_validate(PLAIN.augment.model_dump() | fields)
    return CropTransform(augment, mean, ignore_index=255)


side = st.integers(1, 90)


@settings(max_examples=150)
@given(side, side, side, side, st.data())
def test_a_window_equals_resizing_all_and_then_cropping(
    height, width, new_height, new_width, data
) -> None:
    sample = noise(height, width)
    top, left = data.draw(st.integers(0, new_height - 1)), data.draw(st.integers(0, new_width - 1))
    bottom = data.draw(st.integers(top + 1, new_height))
    right = data.draw(st.integers(left + 1, new_width))
    size, window = (new_height, new_width), (slice(top, bottom), slice(left, right))

    whole = cv2.resize(sample.image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    difference = resize_window(sample.image, size, *window).astype(int) - whole[window]
    assert np.abs(difference).max() <= 2
    whole = cv2.resize(sample.labels, (new_width, new_height), interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(resize_labels_window(sample.labels, size, *window), whole[window])


def test_a_window_of_a_camvid_image_equals_resizing_all_first(camvid) -> None:
    image = decode_image(camvid / "images" / "train" / "0001TP_006690.jpg")
    for factor in (0.5, 0.77, 1.0, 1.31, 2.0):
        size = round(image.shape[0] * factor), round(image.shape[1] * factor)
        window = slice(size[0] // 3, size[0] // 3 + 100), slice(size[1] // 3, size[1] // 3 + 120)
        whole = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR).astype(int)
        assert np.abs(resize_window(image, size, *window) - whole[window]).max() <= 2


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_any_number_of_channels_are_cropped(channels) -> None:
    image = make_rng().integers(0, 256, (50, 40, channels), dtype=np.uint8)
    transform = changed((0.0,) * channels, color="segmenter", scale=(0.6, 0.7))
    crop = transform(Sample(image, np.zeros((50, 40), dtype=np.uint8)), make_rng())
    assert crop.image.shape == (32, 32, channels)


@settings(max_examples=40)
@given(
    side,
    side,
    st.integers(0, 99),
    st.sampled_from(["uniform", "log-uniform", "quarters"]),
    st.sampled_from([None, 24]),
    st.sampled_from(["none", "paddleseg", "segmenter"]),
)
def test_crops_have_one_size_and_one_generator_gives_one_crop(
    h, w, seed, draw, base, color
) -> None:
    transform = changed(
        scale=(0.5, 2.0),
        scale_draw=draw,
        scale_base=base,
        color=color,
        flip=0.5,
        max_class_share=0.5,
    )
    first, again = (transform(noise(h, w), make_rng(seed), focus_class=2) for _ in range(2))
    assert first.image.shape == (32, 32, 3)
    assert first.labels.shape == (32, 32)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)


def test_every_place_of_the_crop_occurs() -> None:
    sample = noise(34, 32)
    crops = [PLAIN(sample, make_rng(seed)).image for seed in range(40)]
    tops = {t for t in range(3) for crop in crops if np.array_equal(crop, sample.image[t : t + 32])}
    assert tops == {0, 1, 2}


def test_small_images_are_padded_right_and_below() -> None:
    sample = noise(20, 10)
    crop = PLAIN(sample, make_rng())
    assert np.array_equal(crop.image[:20, :10], sample.image)
    assert np.array_equal(crop.labels[:20, :10], sample.labels)
    assert (crop.image[20:] == (1, 2, 128)).all()
    assert (crop.image[:, 10:] == (1, 2, 128)).all()
    assert (crop.labels[20:] == 255).all()
    assert (crop.labels[:, 10:] == 255).all()


def test_padding_is_grey_if_the_recipe_says_so() -> None:
    crop = changed(pad_value="grey")(noise(20, 10), make_rng())
    assert (crop.image[20:] == 128).all()


def test_flip_mirrors_image_and_labels_alike() -> None:
    sample = noise(32, 32)
    crop = changed(flip=1.0)(sample, make_rng())
    assert np.array_equal(crop.image, sample.image[:, ::-1])
    assert np.array_equal(crop.labels, sample.labels[:, ::-1])


@pytest.mark.parametrize("draw", ["uniform", "log-uniform", "quarters"])
def test_factors_fill_their_range(draw) -> None:
    transform = changed(scale=(0.5, 2.0), scale_draw=draw)
    rng = make_rng()
    factors = np.array([transform._draw_size((1000, 1000), rng)[0] for _ in range(400)]) / 1000
    assert 0.5 <= factors.min() < 0.55
    assert 1.9 < factors.max() <= 2.0
    if draw == "quarters":
        assert set(factors) == {0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0}
    else:
        middle = 1.25 if draw == "uniform" else 1.0
        assert np.median(factors) == pytest.approx(middle, abs=0.1)


def test_quarters_need_a_quarter_in_the_range() -> None:
    with pytest.raises(ValidationError, match=r"multiple of 0\.25"):
        changed(scale=(0.6, 0.7), scale_draw="quarters")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 200), (64, 128)),
        ((200, 100), (128, 64)),
        ((10, 100), (26, 256)),
        ((33, 50), (64, 97)),
    ],
)
def test_scale_base_fits_the_short_side_but_at_most_4_times_it_for_the_long(size, expected) -> None:
    assert changed(scale_base=64)._draw_size(size, make_rng()) == expected


@pytest.mark.parametrize(("max_ratio", "expected"), [(2.0, (13, 128)), (8.0, (51, 512))])
def test_another_ratio_can_be_allowed_for_the_long_side(max_ratio, expected) -> None:
    transform = changed(scale_base=64, max_ratio=max_ratio)
    assert transform._draw_size((10, 100), make_rng()) == expected


def test_crops_full_of_one_class_are_drawn_again() -> None:
    labels = np.zeros((32, 320), dtype=np.uint8)
    labels[:, 140:180] = 1
    sample = Sample(np.zeros((32, 320, 3), dtype=np.uint8), labels)

    def mixed(transform: CropTransform) -> int:
        crops = (transform(sample, make_rng(seed)).labels for seed in range(60))
        return sum(len(np.unique(crop)) > 1 for crop in crops)

    assert mixed(changed(max_class_share=0.9)) > 50 > 30 > mixed(PLAIN)


def test_crops_without_labels_are_drawn_again() -> None:
    labels = np.full((32, 320), 255, dtype=np.uint8)
    labels[:, 100:200] = np.arange(100) % 2
    sample = Sample(np.zeros((32, 320, 3), dtype=np.uint8), labels)
    crops = [changed(max_class_share=0.9)(sample, make_rng(seed)).labels for seed in range(30)]
    assert all((crop != 255).any() for crop in crops)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.3, 3.0))
def test_the_focus_class_is_in_the_crop_if_it_is_in_the_resized_image(seed, factor) -> None:
    labels = np.zeros((150, 200), dtype=np.uint8)
    labels[tuple(make_rng(seed).integers(0, (150, 200), (3, 2)).T)] = 3
    sample = Sample(np.zeros((150, 200, 3), dtype=np.uint8), labels)
    size = round(150 * factor), round(200 * factor)
    whole = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    crop = changed(scale=(factor, factor))(sample, make_rng(seed), focus_class=3)
    assert (crop.labels == 3).any() == (whole == 3).any()


def test_a_focused_crop_lies_anywhere_around_its_pixel() -> None:
    labels = np.zeros((200, 200), dtype=np.uint8)
    labels[100, 100] = 3
    sample = Sample(np.zeros((200, 200, 3), dtype=np.uint8), labels)
    crops = [PLAIN(sample, make_rng(seed), focus_class=3).labels for seed in range(400)]
    rows = np.array([np.argwhere(crop == 3)[0] for crop in crops])
    assert rows.min() <= 1
    assert rows.max() >= 30
    assert rows.mean() == pytest.approx(15.5, abs=1)
