"""Stopping where scores gain no more: at the right step, on resume too, with models written."""

import os
import signal
from pathlib import Path

import pytest

from segmenter.recipe import Recipe
from segmenter.training.signals import Stopped
from segmenter.training.validation import Validation
from tests.helpers.runs import equal, log, make_recipe, run_training

SCORES = {2: 0.3, 4: 0.5, 6: 0.5, 8: 0.4, 10: 0.9, 12: 0.1}
"""The second and third score after the best do not gain: equal is no gain."""


@pytest.fixture
def recipe(data_set: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A run of 12 steps whose scores are `SCORES`, whatever the model is."""
    score_like(monkeypatch, SCORES)
    return make_recipe(data_set, schedule={"steps": 12}, evaluate_every=2, stop_after=2)


def score_like(monkeypatch: pytest.MonkeyPatch, given: dict[int, float], interrupt: int = 0):
    """Give scores by their order; while one is made, send this process a signal."""
    steps = iter(given)

    def evaluate(*_: object) -> dict[str, float]:
        step = next(steps)
        if step == interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"miou": given[step]}

    monkeypatch.setattr(Validation, "evaluate", evaluate)


def scored_steps(run: Path) -> list[int]:
    return [line["step"] for line in log(run) if "val/miou" in line]


def test_a_run_ends_after_so_many_scores_without_a_gain(
    data_set: Path, recipe: Recipe, capsys: pytest.CaptureFixture
) -> None:
    run_training(recipe, data_set / "run", "cpu", resume=False)
    assert scored_steps(data_set / "run") == [2, 4, 6, 8]
    assert "stopped at step 8 of 12" in capsys.readouterr().err
    for name in ("best.safetensors", "last.safetensors", "checkpoints/step-00000008/state.json"):
        assert (data_set / "run" / name).is_file()


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    data_set: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(recipe, data_set / "unbroken", "cpu", resume=False)
    score_like(monkeypatch, SCORES, interrupt=6)
    with pytest.raises(Stopped):
        run_training(recipe, data_set / "broken", "cpu", resume=False)
    score_like(monkeypatch, {8: SCORES[8]})
    run_training(recipe, data_set / "broken", "cpu", resume=True)
    assert scored_steps(data_set / "broken") == scored_steps(data_set / "unbroken")
    assert equal(data_set / "broken", data_set / "unbroken")


def test_resuming_takes_no_more_steps_unless_more_patience_is_given(
    data_set: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(recipe, data_set / "run", "cpu", resume=False)
    run_training(recipe, data_set / "run", "cpu", resume=True)
    assert scored_steps(data_set / "run") == [2, 4, 6, 8]
    score_like(monkeypatch, {10: 0.9, 12: 0.1})
    patient = recipe.model_copy(update={"stop_after": 3})
    run_training(patient, data_set / "run", "cpu", resume=True)
    assert scored_steps(data_set / "run") == [2, 4, 6, 8, 10, 12]
