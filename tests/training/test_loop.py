"""The loop: it learns, it goes on to the same bits, it stops when told, it guards the weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

import segmenter
from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.recipe import OptimizerRecipe
from segmenter.training import loop
from segmenter.training.optimizer import make_optimizer
from segmenter.training.parallel import DistributedModel
from segmenter.training.signals import Stopped
from segmenter.training.step import StepResult, train_step
from tests.helpers.models import make_spec
from tests.helpers.runs import (
    EVERYTHING_RANDOM,
    LOSS,
    batch,
    equal,
    log,
    make_recipe,
    run_training,
    run_with_a_stop,
    stop_after,
)

LATER_DECODERS = (
    {"kind": "multi-linear", "blocks": 2},
    {"kind": "atm", "blocks": 2},
    {"kind": "joined-class-tokens", "blocks": 1, "cells": 2},
)
QUERIES = {"kind": "eomt", "queries": 5, "blocks": 1, "doublings": 1, "cells": 4}
FEW_POINTS = {"queries": {"points": 500}}


@pytest.mark.parametrize(
    ("decoder", "steps", "factor"),
    [
        ({"kind": "linear"}, 120, 3.0),
        pytest.param({"kind": "mask", "class_norm": "layer"}, 320, 10.0, marks=pytest.mark.slow),
        *(pytest.param(each, 160, 3.0, marks=pytest.mark.slow) for each in LATER_DECODERS),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_overfitting_four_images_drives_the_loss_under_0_05(
    data_set: Path, decoder: dict[str, object], steps: int, factor: float
) -> None:
    # The layer norm over classes leaves logits no size of their own: its gains must grow first.
    recipe = make_recipe(
        data_set,
        model={"decoder": decoder, "drop_path": 0.0},
        data={"val": None},
        augment={"flip": 0.0},
        optimizer={"lr": 1e-3, "decoder_lr_factor": factor, "clip_grad_norm": 1.0},
        schedule={"steps": steps, "warmup_steps": 20, "power": 0.3},
        log_every=10,
        save_every=1000,
    )
    run_training(recipe, data_set / "run", "cpu", resume=False)
    losses = [line["train/loss"] for line in log(data_set / "run") if "train/loss" in line]
    assert losses[0] > 0.3
    assert losses[-1] < 0.05


@pytest.mark.parametrize("stopped_at", [2, 3, 5])
def test_a_stopped_and_resumed_run_equals_an_unbroken_one_to_the_bit(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    recipe = make_recipe(data_set, **EVERYTHING_RANDOM)
    run_training(recipe, data_set / "unbroken", "cpu", resume=False)
    with monkeypatch.context() as patch:
        stop_after(patch, stopped_at)
        with pytest.raises(Stopped) as stopped:
            run_training(recipe, data_set / "broken", "cpu", resume=False)
    assert stopped.value.exit_status == 143
    run_training(recipe, data_set / "broken", "cpu", resume=True)
    assert equal(data_set / "unbroken", data_set / "broken")


@pytest.mark.slow
def test_queries_learn_four_images_by_heart(data_set: Path) -> None:
    recipe = make_recipe(
        data_set,
        model={"decoder": QUERIES, "drop_path": 0.0},
        augment={"flip": 0.0},
        loss=FEW_POINTS,
        optimizer={"lr": 1e-3, "clip_grad_norm": 1.0},
        schedule={"steps": 240, "warmup_steps": 20, "power": 0.3},
        evaluate_every=240,
        save_every=1000,
    )
    run_training(recipe, data_set / "run", "cpu", resume=False)
    lines = log(data_set / "run")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    found = segmenter.evaluate(data_set / "run/last.safetensors", data_set, split="train")
    assert losses[-1] < 0.1 * losses[0]
    assert found.scores.miou > 0.95


@pytest.mark.parametrize("decoder", [*LATER_DECODERS, QUERIES], ids=lambda value: value["kind"])
def test_statistics_and_masks_of_later_decoders_resume_to_the_bit(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, decoder: dict[str, object]
) -> None:
    changes = {"model": {"decoder": decoder}, "data": {"val": None}, "loss": FEW_POINTS}
    recipe = make_recipe(data_set, **changes, ema_decay=0.9)
    run_training(recipe, data_set / "unbroken", "cpu", resume=False)
    run_with_a_stop(recipe, data_set / "broken", 3, monkeypatch)
    assert equal(data_set / "unbroken", data_set / "broken")


@pytest.mark.parametrize(("masking", "are_masked"), [({}, True), ({"masking": False}, False)])
def test_class_tokens_see_all_patches_from_the_start_if_the_recipe_says_so(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, masking: dict[str, bool], are_masked: bool
) -> None:
    seen = []

    def look(model: DistributedModel, *given: Any) -> StepResult:
        seen.append(model.module.decoder.masking is not None)
        return train_step(model, *given)

    monkeypatch.setattr(loop, "train_step", look)
    model = {"decoder": {"kind": "joined-class-tokens", "blocks": 1, **masking}}
    run_training(make_recipe(data_set, model=model, data={"val": None}), data_set / "run", "cpu")
    assert any(seen) == are_masked


def test_loading_workers_change_no_bit(data_set: Path) -> None:
    for workers in (0, 2):
        recipe = make_recipe(data_set, **EVERYTHING_RANDOM, workers=workers, data={"val": None})
        run_training(recipe, data_set / f"run-{workers}", "cpu", resume=False)
    assert equal(data_set / "run-0", data_set / "run-2")


def test_another_seed_gives_other_weights(data_set: Path) -> None:
    for seed in (0, 1):
        recipe = make_recipe(data_set, seed=seed, data={"val": None})
        run_training(recipe, data_set / f"run-{seed}", "cpu", resume=False)
    assert not equal(data_set / "run-0", data_set / "run-1")


def test_best_and_last_models_are_kept_with_recipe_and_scores(data_set: Path) -> None:
    recipe = make_recipe(data_set)
    run_training(recipe, data_set / "run", "cpu", resume=False)
    best = segmenter.load(data_set / "run" / "best.safetensors")
    scored = [line["val/miou"] for line in log(data_set / "run") if "val/miou" in line]
    assert best.spec.scores["val"]["miou"] == pytest.approx(max(scored))
    assert best.spec.recipe == recipe.model_dump(mode="json")
    assert (data_set / "run" / "last.safetensors").is_file()


def test_a_run_is_not_overwritten_and_nothing_is_resumed_from_nothing(data_set: Path) -> None:
    recipe = make_recipe(data_set, data={"val": None})
    with pytest.raises(UserError, match="nothing to resume"):
        run_training(recipe, data_set / "run", "cpu", resume=True)
    run_training(recipe, data_set / "run", "cpu", resume=False)
    with pytest.raises(UserError, match="holds a run; continue with --resume"):
        run_training(recipe, data_set / "run", "cpu", resume=False)


def test_resuming_another_recipe_is_refused_with_the_difference(data_set: Path) -> None:
    run_training(make_recipe(data_set), data_set / "run", "cpu", resume=False)
    changed = make_recipe(data_set, optimizer={"lr": 0.5})
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.001 -> 0\.5"):
        run_training(changed, data_set / "run", "cpu", resume=True)


def test_accumulating_parts_takes_the_same_step_as_the_whole_batch(data_set: Path) -> None:
    results = []
    for parts in (1, 2):
        torch.manual_seed(0)
        model = Segmenter(make_spec(drop_path=0.3)).train()
        recipe = make_recipe(data_set, accumulate=parts)
        optimizer = make_optimizer(model, OptimizerRecipe(name="sgd", lr=0.1))
        torch.manual_seed(3)
        results.append(
            (
                train_step(DistributedModel(model), optimizer, batch(model), recipe, LOSS),
                model.state_dict(),
            )
        )
    (whole, weights_whole), (parts_, weights_parts) = results
    assert whole.loss == pytest.approx(parts_.loss, rel=1e-5)
    for name, tensor in weights_whole.items():
        torch.testing.assert_close(tensor, weights_parts[name], atol=1e-6, rtol=1e-4)


def test_a_loss_that_is_not_finite_moves_no_weight(data_set: Path) -> None:
    model = Segmenter(make_spec()).train()
    with torch.no_grad():
        model.decoder.project.bias[0] = float("inf")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = make_optimizer(model, OptimizerRecipe(name="sgd", lr=0.1))
    result = train_step(
        DistributedModel(model), optimizer, batch(model), make_recipe(data_set), LOSS
    )
    assert not result.is_finite
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_batch_without_labels_has_loss_zero_and_finite_gradients(data_set: Path) -> None:
    model = Segmenter(make_spec()).train()
    blank = batch(model)._replace(labels=torch.full((4, 32, 32), 255))
    optimizer = make_optimizer(model, OptimizerRecipe(name="sgd", lr=0.1))
    recipe = make_recipe(data_set)
    result = train_step(DistributedModel(model), optimizer, blank, recipe, LOSS)
    assert result.loss == 0
    assert result.is_finite


def test_a_device_that_is_not_there_is_an_error(data_set: Path) -> None:
    for device in ("gpu", "cuda:7"):
        with pytest.raises(UserError, match=f"device '{device}' cannot be used"):
            run_training(make_recipe(data_set), data_set / "run", device, resume=False)
