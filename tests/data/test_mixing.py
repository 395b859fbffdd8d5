"""Mixing two images: image and labels stay together, and a crop is a function of its position."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.data.folder import LabelledFolder, open_folder
from segmenter.data.loading import SampleStream, make_loader
from segmenter.data.mixing import mix_in, paste_class
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform
from segmenter.recipe import AugmentRecipe

AUGMENT = AugmentRecipe(crop_size=16, scale=(1.0, 1.0), flip=0.0, color="none")
KINDS = [(np.uint8, 3), (np.float32, 1), (np.float32, 25)]


def filled(level: int, dtype: type = np.uint8, channels: int = 3) -> Sample:
    return Sample(np.full((20, 20, channels), level, dtype), np.full((20, 20), level, np.uint8))


@pytest.fixture
def folder(make_folder) -> LabelledFolder:
    """Images whose every pixel is the value of its mask; a pixel of class 2 is in one of them."""
    folder = open_folder(make_folder(*"abcde"))
    for item in folder.items("all"):
        assert item.mask is not None
        mask = np.zeros((40, 50), np.uint8)
        if item.name == "c":
            mask[20:23, 30:33] = 2
        Image.fromarray(mask).save(item.mask)
        Image.fromarray(np.stack([mask] * 3, axis=-1)).save(item.image)
    return folder


def make_stream(folder: LabelledFolder, **augment: object) -> SampleStream:
    items = folder.items("all")
    counts = np.zeros((len(items), len(folder.classes)), np.int64)
    counts[:, 0], counts[2, 2] = 2000, 9
    recipe = AugmentRecipe.model_validate(AUGMENT.model_dump() | augment)
    transform = CropTransform(recipe, (0.0,) * 3, ignore_index=255)
    return SampleStream(items, folder.classes, transform, 3, pixel_counts=counts)


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
@pytest.mark.parametrize("most", [0.01, 0.5, 1.0])
def test_a_rectangle_of_image_and_labels_comes_from_the_other_crop(
    most: float, dtype: type, channels: int
) -> None:
    crop, other = filled(0, dtype, channels), filled(1, dtype, channels)
    for seed in range(20):
        mixed = mix_in(crop, other, most, np.random.default_rng(seed))
        assert (mixed.image.dtype, mixed.image.shape) == (crop.image.dtype, crop.image.shape)
        assert (mixed.image == mixed.labels[:, :, None]).all()
        rows, columns = mixed.labels.any(axis=1), mixed.labels.any(axis=0)
        assert np.array_equal(mixed.labels, np.outer(rows, columns))
        assert 1 <= mixed.labels.sum() <= max(400 * most * 1.15, 1)
    assert not crop.labels.any()


@pytest.mark.parametrize(("dtype", "channels"), KINDS)
def test_pasted_regions_keep_their_places_and_replace_nothing_else(
    dtype: type, channels: int
) -> None:
    crop, other = filled(0, dtype, channels), filled(7, dtype, channels)
    other.labels[3:5, 6:9] = 2
    pasted = paste_class(crop, other, 2)
    assert (pasted.labels == np.where(other.labels == 2, 2, 0)).all()
    assert (pasted.image == np.where(other.labels == 2, 7, 0)[:, :, None]).all()
    assert not crop.image.any()


def test_a_pasted_crop_has_the_rare_class(folder) -> None:
    plain, pasting = make_stream(folder), make_stream(folder, paste=1.0)
    with_class = [
        (stream[k].sample.labels == 2).any() for stream in (plain, pasting) for k in range(9)
    ]
    assert sum(with_class[:9]) < 5
    assert all(with_class[9:])
    assert all(
        (crop.image == crop.labels[:, :, None]).all()
        for crop in (pasting[k].sample for k in range(9))
    )


@pytest.mark.parametrize("name", ["mix", "paste"])
def test_a_share_of_the_crops_is_mixed_and_the_others_stay_as_they_are(folder, name: str) -> None:
    plain, mixed = make_stream(folder, noise=1.0), make_stream(folder, noise=1.0, **{name: 0.5})
    changed = [not np.array_equal(plain[k].sample.image, mixed[k].sample.image) for k in range(40)]
    assert 10 <= sum(changed) <= 30


def test_without_a_rare_class_nothing_is_pasted(folder) -> None:
    plain, pasting = make_stream(folder), make_stream(folder, paste=1.0, rare_class_below=1e-9)
    for position in range(4):
        assert np.array_equal(plain[position].sample.image, pasting[position].sample.image)


def test_any_start_and_number_of_workers_gives_the_same_bits(folder) -> None:
    both = {"mix": 0.7, "paste": 0.7, "noise": 0.5, "scale": (0.5, 2.0)}
    whole = list(make_loader(make_stream(folder, **both), range(12), 4))
    tail = list(make_loader(make_stream(folder, **both), range(4, 12), 4, workers=2))
    for first, second in zip(whole[1:], tail, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_unreadable_partner_is_reported_and_replaced(folder) -> None:
    broken = folder.items("all")[2]
    broken.image.write_bytes(b"no image")
    stream = make_stream(folder, mix=1.0)
    reported = [stream[position].unreadable for position in range(20)]
    assert any(reported)
    assert {Path(each.image).name for found in reported for each in found} == {broken.image.name}
