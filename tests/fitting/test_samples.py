"""Samples stand for the pixels of each class, and take the memory of their features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmenter.data.pairing.items import Item
from segmenter.fitting import samples
from segmenter.fitting.samples import (
    MAX_SAMPLES,
    Samples,
    count_pixels,
    gather,
    join,
    plan_quotas,
    sample_images,
    thin,
)
from segmenter.fitting.tokens import ImageTokens, TokenStore
from segmenter.model import Segmenter
from tests.helpers.models import make_classes, make_spec


def samples_of(count: int) -> Samples:
    features = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    return Samples(features, np.zeros(count, np.int64), np.ones(count, np.float32))


def test_gathered_samples_are_those_given_and_lie_in_one_array() -> None:
    given = [samples_of(count) for count in (3, 0, 2)]
    kept = gather(iter(given), most=6)
    assert [len(each) for each in kept] == [3, 0, 2]
    np.testing.assert_array_equal(join(kept).features, join(given).features)
    assert len({id(each.features.base) for each in kept}) == 1
    assert kept[0].features.base is not None


def test_few_images_share_the_samples_and_many_give_one_of_each_class() -> None:
    few, many = (np.tile([[9000, 9000, 40, 0]], (count, 1)) for count in (3, 6000))
    np.testing.assert_array_equal(plan_quotas(few), [[1980, 1980, 40, 0]] * 3)
    np.testing.assert_array_equal(plan_quotas(many), [[1, 2, 1, 0]] * 6000)


def test_samples_of_any_number_of_images_are_bounded_and_rare_classes_keep_theirs() -> None:
    counts = np.full((10_000, 19), 500)
    counts[:, 7] = 0
    counts[4000:4500:100, 7] = 1000
    quotas = plan_quotas(counts)
    assert MAX_SAMPLES - 19 <= quotas.sum() <= MAX_SAMPLES
    assert (quotas[4000:4500:100, 7] == 1).all()
    common = np.delete(quotas.sum(axis=0), 7)
    assert common.min() >= MAX_SAMPLES // 19
    halves = quotas[:5000].sum(axis=0)
    np.testing.assert_allclose(np.delete(halves, 7), common / 2, rtol=0.1)


def test_samples_of_a_class_stand_for_all_its_pixels_also_in_images_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(3, patch_size=8, decoder="multi-linear")
    tokens = ImageTokens(np.ones((1, 1, 4), np.float16), (8, 8), spec)
    store = TokenStore(Segmenter(spec), lambda: tmp_path)
    monkeypatch.setattr(store, "read", lambda _: tokens)
    monkeypatch.setattr(samples, "MAX_SAMPLES", 30)
    monkeypatch.setattr(samples, "_ENOUGH_SAMPLES", 0)
    masks = np.zeros((20, 8, 8), np.uint8)
    masks[:, 6:], masks[3, 5:] = 1, 2
    counts = np.stack([count_pixels(mask, 3) for mask in masks])
    items = [Item(str(at), tmp_path, tmp_path) for at in range(len(masks))]
    labels = dict(zip(items, masks, strict=True))
    monkeypatch.setattr(samples, "read_labels", lambda item, _: labels[item])
    found = sample_images(store, items, make_classes(3), counts)
    joined = join(found)
    assert len(joined) == 30
    assert min(len(each) for each in found) == 0
    totals = np.bincount(joined.labels, joined.weights)
    np.testing.assert_allclose(totals, counts.sum(axis=0), rtol=1e-5)


def test_no_image_has_no_samples() -> None:
    assert gather(iter(()), most=6) == []


def test_of_many_images_that_hold_classes_in_turn_some_samples_of_each_class_stay() -> None:
    labels = np.tile([0, 1], 7000)
    labels[[5, 900, 9000]] = 2
    features = np.arange(len(labels), dtype=np.float32)[:, None]
    given = Samples(features, labels, np.ones(len(labels), np.float32))
    kept, places = thin(given, num_classes=4, most=3500)
    np.testing.assert_array_equal(kept.features[:, 0], places)
    np.testing.assert_array_equal(np.bincount(kept.labels), [1748, 1749, 3])
    weights = np.bincount(kept.labels, kept.weights)
    np.testing.assert_allclose(weights, np.bincount(labels), rtol=1e-6)


def test_few_samples_all_stay_as_they_are() -> None:
    given = replace(samples_of(4), labels=np.array([2, 0, 2, 1]))
    kept, places = thin(given, num_classes=3, most=4)
    assert places.tolist() == [0, 1, 2, 3]
    for before, after in zip(vars(given).values(), vars(kept).values(), strict=True):
        np.testing.assert_array_equal(before, after)
