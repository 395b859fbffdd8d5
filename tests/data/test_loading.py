"""The stream of crops is a function of the seed and the position."""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.classes import Classes
from segmenter.data import loading
from segmenter.data.folder import LabelledFolder, open_folder, read_labels, read_sample
from segmenter.data.loading import Batch, SampleStream, make_loader
from segmenter.data.pairing.items import Item
from segmenter.data.transforms import CropTransform
from segmenter.errors import UserError
from segmenter.recipe import AugmentRecipe

AUGMENT = AugmentRecipe(crop_size=16)
TRANSFORM = CropTransform(AUGMENT, (0.0, 0.0, 0.0), ignore_index=255)


@pytest.fixture
def folder(make_folder) -> LabelledFolder:
    return open_folder(make_folder(*"abcde"))


def count_pixels(items: Sequence[Item], classes: Classes) -> np.ndarray:
    labels = [read_labels(item, classes) for item in items]
    return np.array([[(each == k).sum() for k in range(len(classes))] for each in labels])


def make_stream(
    folder: LabelledFolder, seed: int = 7, transform: CropTransform = TRANSFORM, **unlabelled
) -> SampleStream:
    items = folder.items("all")
    counts = count_pixels(items, folder.classes)
    return SampleStream(items, folder.classes, transform, seed, pixel_counts=counts, **unlabelled)


def focusing_stream(folder: LabelledFolder, **rare: float) -> SampleStream:
    """A stream that places crops on rare classes as the recipe says."""
    return make_stream(
        folder, transform=replace(TRANSFORM, augment=AUGMENT.model_copy(update=rare))
    )


def joined(batches) -> Batch:
    return Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def all_equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def spied_items(stream: SampleStream, monkeypatch, positions) -> list[str]:
    """Names of the items that are read for some positions."""
    read = []

    def spy(item, classes):
        read.append(item.name)
        return read_sample(item, classes)

    monkeypatch.setattr("segmenter.data.loading.read_sample", spy)
    for position in positions:
        stream[position]
    return read


def test_batches_hold_the_crops_of_their_positions(folder) -> None:
    stream = make_stream(folder)
    batches = list(make_loader(stream, range(3, 8), batch_size=2))
    assert [batch.positions.tolist() for batch in batches] == [[3, 4], [5, 6], [7]]
    assert batches[0].images.shape == (2, 3, 16, 16)
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].labels.dtype == torch.int64
    crop = stream[4].sample
    assert not stream[4].unreadable
    assert np.array_equal(batches[0].images[1].permute(1, 2, 0).numpy(), crop.image)
    assert np.array_equal(batches[0].labels[1].numpy(), crop.labels)


def test_any_number_of_workers_gives_the_same_bits(folder) -> None:
    stream = make_stream(folder)
    alone, helped = (joined(make_loader(stream, range(12), 3, workers)) for workers in (0, 2))
    assert all_equal(alone, helped)


def mapping_at(address: int) -> str:
    """The line of /proc/self/maps that says what lies at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            return line
    return ""


def test_a_worker_writes_batches_where_the_training_process_reads_them(folder) -> None:
    for batch in make_loader(make_stream(folder), range(4), 2, workers=1):
        for part in batch:
            assert "memfd:segmenter-batch" in mapping_at(part.data_ptr())
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
    alone = next(make_loader(make_stream(folder), range(4), 2))
    assert "memfd" not in mapping_at(alone.images.data_ptr())


def test_any_start_and_batch_size_gives_the_same_bits(folder) -> None:
    whole = joined(make_loader(make_stream(folder), range(17), 4))
    tail = joined(make_loader(make_stream(folder), range(9, 17), 3))
    assert all_equal(Batch(*(part[9:] for part in whole)), tail)


def test_each_epoch_visits_every_item_once_in_another_order(
    folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = spied_items(make_stream(folder), monkeypatch, range(20))
    epochs = [tuple(read[start : start + 5]) for start in range(0, 20, 5)]
    assert all(sorted(epoch) == list("abcde") for epoch in epochs)
    assert len(set(epochs)) > 1


def test_seeds_and_positions_differ_in_their_crops(folder) -> None:
    crops = [
        make_stream(folder, seed)[k].sample for seed, k in itertools.product((1, 2), range(10))
    ]
    assert len({crop.image.tobytes() for crop in crops}) == 20


def test_the_global_generators_are_left_alone(folder) -> None:
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(make_loader(make_stream(folder), range(4), 2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_rare_class_crops_hold_a_rare_class(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    item = folder.items("all")[2]
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[20, 30] = 2
    Image.fromarray(mask).save(item.mask)
    stream = focusing_stream(folder, rare_class_crops=1.0, rare_class_below=0.02)
    assert stream.rare_classes.tolist() == [2]
    assert set(spied_items(stream, monkeypatch, range(6))) == {"c"}
    assert focusing_stream(folder, rare_class_crops=1.0, rare_class_below=1e-9)[0] is not None


def test_a_share_of_crops_is_on_rare_classes(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[20, 30] = 2
    Image.fromarray(mask).save(folder.items("all")[2].mask)
    stream = focusing_stream(folder, rare_class_crops=0.5)
    share = spied_items(stream, monkeypatch, range(100)).count("c") / 100
    assert share == pytest.approx(0.5 + 0.5 / 5, abs=0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_told_and_replaced_by_a_draw_of_its_position(
    workers, folder
) -> None:
    stream = make_stream(folder)
    folder.items("all")[1].image.write_bytes(b"")
    told = []
    batches = list(make_loader(stream, range(10), 2, workers, on_unreadable=told.append))
    assert [image.image for image in told] == [str(folder.items("all")[1].image)] * 2  # 2 epochs
    assert "b.png is empty" in told[0].reason
    assert all_equal(joined(batches[2:]), joined(make_loader(stream, range(4, 10), 3)))


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_an_error_in_one_line(workers, folder) -> None:
    stream = make_stream(folder)
    for item in folder.items("all"):
        item.image.write_bytes(b"")
    with pytest.raises(UserError, match=r"png is empty") as caught:
        list(make_loader(stream, range(5), 2, workers))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_reading_process_that_is_killed_is_replaced_and_no_bit_changes(folder) -> None:
    stream, said = make_stream(folder), []
    expected = joined(make_loader(stream, range(40), 2))
    batches = make_loader(stream, range(40), 2, workers=2, say=said.append)
    found = [next(batches)]
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
    found += batches
    assert all_equal(joined(found), expected)
    assert len(said) == 1
    assert "reading starts again" in said[0]


class DeadlyStream(SampleStream):
    def __getitem__(self, position):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_reading_processes_that_die_again_and_again_are_an_error_that_names_the_images(
    folder,
) -> None:
    stream = make_stream(folder)
    deadly = DeadlyStream(
        stream.items, stream.classes, TRANSFORM, 7, pixel_counts=np.ones((5, 3), dtype=np.int64)
    )
    with pytest.raises(UserError, match=r"died 3 times in a row.*set workers to 0.*[abcde], "):
        next(make_loader(deadly, range(40), 2, workers=1))


def test_images_without_masks_take_their_share_of_the_crops_and_have_no_labels(folder) -> None:
    alone = tuple(replace(item, mask=None) for item in folder.items("all")[:2])
    stream = make_stream(folder, unlabelled=alone, unlabelled_crops=0.25)
    is_blank = [bool((stream[place].sample.labels == 255).all()) for place in range(200)]
    assert 30 < sum(is_blank) < 70


def test_only_crops_without_masks_have_a_strong_view_and_nothing_else_changes(folder) -> None:
    alone = tuple(replace(item, mask=None) for item in folder.items("all")[:2])
    given = {"unlabelled": alone, "unlabelled_crops": 0.5}
    plain, strong = make_stream(folder, **given), make_stream(folder, **given, strong_views=True)
    weak = joined(make_loader(plain, range(24), 4))
    both = joined(make_loader(strong, range(24), 4, workers=2))
    assert torch.equal(weak.strong, weak.images)
    for one, other in zip(weak[:4], both[:4], strict=True):
        assert torch.equal(one, other)
    differs = (both.strong != both.images).flatten(1).any(dim=1)
    assert torch.equal(differs, both.unlabelled.flatten(1).any(dim=1))
    assert 4 < differs.sum() < 20
    again = joined(make_loader(strong, range(10, 24), 7))
    assert torch.equal(again.strong, both.strong[10:])


def test_padding_and_pixels_of_other_images_are_not_of_an_image_without_a_mask(folder) -> None:
    alone = tuple(replace(item, mask=None) for item in folder.items("all")[:2])
    augment = AugmentRecipe(crop_size=64, scale=(1.0, 1.0), flip=0.0, color="none", mix=0.5)
    transform = replace(TRANSFORM, augment=augment)
    stream = make_stream(folder, transform=transform, unlabelled=alone, unlabelled_crops=0.9)
    crops = [stream[place] for place in range(30)]
    for crop in crops:
        assert not crop.unlabelled[40:].any()
        assert not crop.unlabelled[:, 50:].any()
        assert (crop.sample.labels[crop.unlabelled] == 255).all()
    sizes = {int(crop.unlabelled.sum()) for crop in crops}
    assert {0, 40 * 50} < sizes  # crops with masks, without, and mixed ones


def test_a_labelled_image_in_place_of_an_unreadable_one_is_a_labelled_one(folder) -> None:
    broken = replace(folder.items("all")[0], image=folder.items("all")[0].image.parent / "gone.png")
    alone = (replace(broken, mask=None),)
    given = {"unlabelled": alone, "unlabelled_crops": 0.9, "strong_views": True}
    crop = next(
        crop for crop in map(make_stream(folder, **given).__getitem__, range(9)) if crop.unreadable
    )
    assert (crop.sample.labels != 255).any()
    assert not crop.unlabelled.any()
    assert crop.strong is crop.sample.image


def test_without_images_without_masks_no_crop_changes(folder) -> None:
    plain, same = make_stream(folder), make_stream(folder, unlabelled=(), unlabelled_crops=0.9)
    for place in range(10):
        assert np.array_equal(plain[place].sample.image, same[place].sample.image)


def test_a_stream_needs_items(folder) -> None:
    with pytest.raises(UserError, match="no labelled images"):
        SampleStream(
            (), folder.classes, TRANSFORM, 0, pixel_counts=np.zeros((0, 3), dtype=np.int64)
        )


def test_camvid_crops_hold_the_rare_class_they_are_placed_on(camvid) -> None:
    folder = open_folder(camvid)
    items = folder.items("train")[::40]
    counts = count_pixels(items, folder.classes)
    augment = AugmentRecipe(crop_size=128, scale=(1.0, 2.0), rare_class_crops=1.0)
    transform = CropTransform(augment, (124.0, 116.0, 104.0), 255)
    stream = SampleStream(items, folder.classes, transform, 0, pixel_counts=counts)
    for position in range(5):
        assert np.isin(stream[position].sample.labels, stream.rare_classes).any()


def test_a_process_that_dies_while_it_hands_over_a_batch_is_replaced(
    folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, said, start_reading = make_stream(folder), [], loading._start_reading
    expected = joined(make_loader(stream, range(8), 2))
    starts = []

    def reading(*arguments):
        batches = start_reading(*arguments)
        starts.append(arguments)
        yield next(batches)
        if len(starts) == 1:
            raise ConnectionResetError(104, "Connection reset by peer")
        yield from batches

    monkeypatch.setattr(loading, "_start_reading", reading)
    found = joined(make_loader(stream, range(8), 2, say=said.append))
    assert len(starts) == 2
    assert len(said) == 1
    assert all_equal(found, expected)
