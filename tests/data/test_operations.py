"""Operations for images without an up, and for poor cameras: image and labels stay together."""

from collections.abc import Iterator

import numpy as np
import pytest

from segmenter.data.operations import (
    CHANGES,
    OPERATIONS,
    TURNS,
    WARPS,
    draw_operations,
    skipped_operations,
)
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform
from segmenter.image_spec import ImageSpec
from segmenter.recipe import AugmentRecipe
from tests.helpers.band_images import make_values, spec_of

PLAIN: dict[str, object] = {"crop_size": 32, "scale": (1.0, 1.0), "flip": 0.0, "color": "none"}
KINDS = [("uint8", 5), ("uint16", 4), ("float32", 1)]


def crop_of(
    sample: Sample, seed: int = 0, image: ImageSpec | None = None, **augment: object
) -> Sample:
    recipe = AugmentRecipe.model_validate(PLAIN | augment)
    transform = CropTransform(recipe, (120.0,) * sample.image.shape[2], 255, image)
    return transform(sample, np.random.default_rng(seed))


def painted(height: int, width: int, channels: int = 3) -> Sample:
    """Row and column of each pixel as its first two channels, and both as its label."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([rows, columns] + [rows] * (channels - 2), axis=-1)
    return Sample(image, (rows * width + columns).astype(np.uint8))


def textured(channels: int = 3) -> Sample:
    image = np.random.default_rng(1).integers(40, 200, (50, 60, channels), dtype=np.uint8)
    return Sample(image, image[:, :, 0] % 5)


def crops(sample: Sample, **augment: object) -> Iterator[Sample]:
    for seed in range(12):
        yield crop_of(sample, seed, **augment)


@pytest.mark.parametrize("size", [(15, 16), (16, 9)])
@pytest.mark.parametrize("names", [(each.name,) for each in TURNS] + [("flip", "rotate_90")])
def test_a_turn_moves_image_and_labels_alike(names: tuple[str, ...], size: tuple[int, int]) -> None:
    sample = painted(*size)
    for crop in crops(sample, **dict.fromkeys(names, 1.0)):
        inside = crop.labels != 255
        found = np.stack(np.divmod(crop.labels, size[1]), axis=-1)
        assert np.array_equal(found[inside], crop.image[:, :, :2][inside])
        assert np.array_equal(np.sort(crop.labels[inside]), np.sort(sample.labels, axis=None))
        assert not np.array_equal(crop.labels[: size[0], : size[1]], sample.labels)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [(90, 100), (33, 40), (20, 25)])
def test_a_free_rotation_moves_image_and_labels_alike(size: tuple[int, int], axis: int) -> None:
    image = painted(*size).image
    for crop in crops(Sample(image, image[:, :, axis]), rotate=1.0, rotate_degrees=180.0):
        inside = crop.labels != 255
        difference = crop.image[:, :, axis].astype(int) - crop.labels
        assert inside.sum() > 100
        assert np.abs(difference[inside]).max() <= 1


@pytest.mark.parametrize("name", [each.name for each in WARPS])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [(90, 100), (33, 40), (20, 25)])
def test_a_warp_moves_image_and_labels_alike(size: tuple[int, int], axis: int, name: str) -> None:
    image = painted(*size).image
    for crop in crops(Sample(image, image[:, :, axis]), **{name: 1.0}, crop_size=64):
        inside = crop.labels != 255
        difference = crop.image[:, :, axis].astype(int) - crop.labels
        assert inside.sum() > min(size[0], 64) * min(size[1], 64) * 0.6
        assert np.abs(difference[inside]).max() <= 1


def test_a_perspective_shows_a_part_of_the_crop_and_nothing_from_outside() -> None:
    for crop in crops(painted(32, 32), perspective=1.0, perspective_shift=0.3):
        assert not np.array_equal(crop.image, painted(32, 32).image)
        inside = crop.labels != 255
        assert inside.mean() > 0.98  # the label 255 is one of those painted


@pytest.mark.parametrize("size", [(512, 512), (70, 40), (5, 300), (1, 1)])
def test_an_elastic_deformation_shifts_no_pixel_further_than_told_and_never_folds(
    size: tuple[int, int],
) -> None:
    augment = AugmentRecipe(crop_size=32, elastic_shift=7.99)
    own = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1)
    draw = next(each.draw for each in WARPS if each.name == "elastic")
    for seed in range(20):
        places = draw(size, augment, np.random.default_rng(seed))
        assert places.shape == (*size, 2)
        assert np.abs(places - own).max() <= 8
        down, across = np.diff(places, axis=0)[:, :-1], np.diff(places, axis=1)[:-1]
        areas = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
        assert (areas > 0).all()


def test_a_free_rotation_turns_about_the_centre_by_any_angle_up_to_the_largest() -> None:
    sample = painted(101, 101)
    angles = []
    for seed in range(40):
        crop = crop_of(sample, seed, rotate=1.0, rotate_degrees=30.0, crop_size=101)
        assert tuple(crop.image[50, 50, :2]) == (50, 50)
        row, column = crop.image[50, 80, :2].astype(float) - 50
        angles.append(np.degrees(np.arctan2(row, column)))
    assert -31 < min(angles) < -24
    assert 24 < max(angles) < 31


def test_a_rotation_takes_its_corners_from_the_image_and_ignores_what_lies_outside() -> None:
    sample = Sample(np.zeros((200, 200, 3), np.uint8), np.ones((200, 200), np.uint8))
    augment = AugmentRecipe.model_validate(PLAIN | {"rotate_degrees": 45.0})
    transform = CropTransform(augment, (120.0,) * 3, 255)
    amid, at_the_corner = (
        transform._rotate_window(sample, (200, 200), (window, window), 45.0).labels
        for window in (slice(80, 112), slice(0, 32))
    )
    assert (amid == 1).all()
    assert set(np.unique(at_the_corner)) == {1, 255}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_leaves_the_draws_of_all_others_alone(name: str) -> None:
    others = {each: 0.5 for each in OPERATIONS if each != name}
    found = []
    for share in (0.0, 1.0):
        rng = np.random.default_rng(5)
        augment = AugmentRecipe.model_validate(PLAIN | others | {name: share})
        draws = draw_operations(augment, rng)
        draws.pop(name, None)
        found.append(({each: own.random() for each, own in draws.items()}, rng.random()))
    assert found[0] == found[1]
    assert 0 < len(found[0][0]) < len(others)
    assert found[0][1] == np.random.default_rng(5).random()


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_generator_gives_one_crop_and_a_share_is_that_of_the_crops(name: str) -> None:
    changed = 0
    for seed in range(40):
        plain = crop_of(textured(), seed)
        first, again = (crop_of(textured(), seed, **{name: 0.5}) for _ in range(2))
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.labels, again.labels)
        changed += not np.array_equal(first.image, plain.image)
    assert 10 <= changed <= 30


@pytest.mark.parametrize("name", [each.name for each in CHANGES])
def test_a_change_of_pixels_leaves_type_and_labels(name: str) -> None:
    plain, crop = crop_of(textured()), crop_of(textured(), **{name: 1.0})
    assert crop.image.dtype == np.uint8
    assert not np.array_equal(crop.image, plain.image)
    assert np.abs(crop.image.astype(float) - plain.image).mean() < 60
    assert np.array_equal(crop.labels, plain.labels)


def test_a_jpeg_file_keeps_the_order_of_the_channels() -> None:
    image = np.full((32, 32, 3), (200, 120, 20), np.uint8)
    crop = crop_of(Sample(image, image[:, :, 0]), jpeg=1.0, jpeg_quality=95)
    assert np.abs(crop.image.astype(int) - image).max() <= 3


@pytest.mark.parametrize("channels", [1, 2, 5, 256])
def test_every_operation_takes_any_number_of_channels(channels: int) -> None:
    shares = dict.fromkeys(OPERATIONS, 1.0)
    for crop in crops(textured(channels), **shares, flip=1.0, scale=(0.7, 4.0)):
        assert crop.image.shape == (32, 32, channels)


@pytest.mark.parametrize(("dtype", "bands"), KINDS)
def test_images_of_other_types_are_changed_unless_the_operation_is_of_rgb(
    dtype: str, bands: int
) -> None:
    values = make_values(50, 60, bands=bands, dtype=dtype)
    image = spec_of(values).with_range(values.min((0, 1)), values.max((0, 1)))
    sample = Sample(values, np.zeros(values.shape[:2], np.uint8))
    plain = crop_of(sample, image=image).image
    skips = skipped_operations(AugmentRecipe(crop_size=32, **dict.fromkeys(OPERATIONS, 1.0)))
    skips += ("channel_drop",) * (bands == 1)
    for name in OPERATIONS:
        crop = crop_of(sample, image=image, **{name: 1.0}).image
        assert (crop.dtype, crop.shape) == (np.float32, plain.shape)
        assert np.isfinite(crop).all()
        assert np.array_equal(crop, plain) == (name in skips)


def test_a_cut_out_square_has_the_fill_and_no_labels() -> None:
    for crop in crops(textured(), cutout=1.0, cutout_size=0.5):
        gone = crop.labels == 255
        rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
        assert 1 <= len(rows) == len(columns) <= 16
        assert gone[rows][:, columns].all()
        assert (crop.image[gone] == 120).all()
