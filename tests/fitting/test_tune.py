"""Tuning changes a model for the time it is given, and no longer."""

import itertools
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter.data.folder import LabelledFolder, open_folder
from segmenter.fitting.tune import Tuning
from segmenter.model import Segmenter
from segmenter.recipe import Recipe, read_recipe
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec


def small_recipe(data: LabelledFolder) -> Recipe:
    sizes = {"augment": {"crop_size": 32, "scale_base": 64}, "data": {"root": str(data.root)}}
    sizes["protocol"] = {"short_side": 64, "window": None, "stride": None}
    sizes["optimizer"] = {"frozen_blocks": 0}
    return read_recipe("finetune", sizes)


def test_encoder_and_decoder_are_trained_while_there_is_time(tmp_path: Path) -> None:
    data = open_folder(write_data_set(tmp_path / "data"))
    torch.manual_seed(0)
    model = Segmenter(make_spec(3, decoder="multi-linear", depth=3)).eval()
    recipe = small_recipe(data)
    clock = itertools.count()
    told: list[float] = []
    counts = np.ones((4, 3), dtype=np.int64)
    tuning = Tuning(model, recipe, 8.0, told.append, lambda: next(clock))
    tuning.train(data.items("train"), counts)
    tuned = tuning.averaged()
    assert told == [0.25, 0.5, 0.75]  # a fourth step would end after 1.0
    changed = {
        name
        for name, before in model.state_dict().items()
        if not torch.equal(before, tuned.state_dict()[name])
    }
    blocks = {f"encoder.blocks.{number}.mlp.reduce.weight" for number in range(3)}
    assert {"encoder.patch_embed.weight", "decoder.project.weight", *blocks} <= changed
    assert not any(name.startswith("decoder.norm") for name in changed)  # the statistics of the fit


def test_training_that_goes_on_with_more_images_takes_the_rest_of_the_time(tmp_path: Path) -> None:
    data = open_folder(write_data_set(tmp_path / "data"))
    model = Segmenter(make_spec(3, decoder="multi-linear", depth=3)).eval()
    clock, told = itertools.count(), list[float]()
    tuning = Tuning(model, small_recipe(data), 16.0, told.append, lambda: next(clock))
    items, counts = data.items("train"), np.ones((4, 3), dtype=np.int64)
    tuning.train(items[:3], counts[:3], until=0.6)
    steps, before = tuning.steps, tuning.averaged().decoder.project.weight.clone()
    next(clock)  # what is done between does not count
    tuning.train(items, counts)
    assert 0 < steps < tuning.steps == len(told)
    assert all(earlier < later < 1 for earlier, later in pairwise(told))
    assert not torch.equal(before, tuning.averaged().decoder.project.weight)


def taken_recipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe, counts: np.ndarray
) -> Recipe:
    """What a recipe becomes before the first step."""
    taken: list[Recipe] = []

    def keep(recipe: Recipe, *_: object) -> None:
        taken.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr("segmenter.fitting.tune.build_loss", keep)
    data = open_folder(write_data_set(folder / "data"))
    model = Segmenter(make_spec(3, decoder="multi-linear", depth=3))
    with pytest.raises(KeyboardInterrupt):
        Tuning(model, recipe, 8.0).train(data.items("train"), counts)
    (found,) = taken
    return found


def test_classes_weigh_as_in_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([[16 * 600, 600, 0], [0, 0, 0]])
    taken = taken_recipe(tmp_path, monkeypatch, read_recipe("finetune"), counts)
    common, rare, _ = taken.loss.class_weights
    assert rare / common == pytest.approx(16**0.75)
    assert (16 * common + rare) / 17 == pytest.approx(1)  # of a pixel, on average


@pytest.mark.parametrize(("given", "expected"), [(560, 28 * 16), (160, 160)])
def test_crops_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int, expected: int
) -> None:
    recipe = read_recipe("finetune", {"augment": {"crop_size": given}})
    taken = taken_recipe(tmp_path, monkeypatch, recipe, np.ones((4, 3), dtype=np.int64))
    assert taken.augment.crop_size == expected
