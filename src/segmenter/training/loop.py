"""The training loop, to be read from top to bottom.

Sample order, augmentation, stochastic depth, dropout and learning rate are functions of the seed
and the step, so a run that goes on from a checkpoint gives the same bits as one that never stopped.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from segmenter.checkpoints.own import save
from segmenter.data.loading import Batch, SampleStream, make_loader
from segmenter.data.unreadable import UnreadablePhotos
from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.outputs import write_new
from segmenter.recipe import Recipe
from segmenter.training.checkpoint import CheckpointSaver
from segmenter.training.ema import WeightAverage
from segmenter.training.losses import Loss
from segmenter.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from segmenter.training.report import TrainingReport
from segmenter.training.resume import restore
from segmenter.training.signals import Interrupted, Stopped, StopSignals
from segmenter.training.state import TrainingState
from segmenter.training.step import train_step

_MAX_NONFINITE_IN_A_ROW = 10

Score = Callable[[Segmenter, Callable[[], None]], dict[str, Any]]
"""Scores a model on the validation split: JSON with `miou` in 0 to 1.

What it is given is called after each photo, and raises `Interrupted` to break off.
"""


@dataclass(frozen=True)
class Run:
    """One training run: what it needs, and the folder it writes."""

    recipe: Recipe
    model: Segmenter
    stream: SampleStream
    loss: Loss
    score: Score | None
    folder: Path
    identity: dict[str, Any]
    """What may not change on resume: recipe, classes, and names of the photos."""


def train(
    run: Run, console: Console, *, resume: bool = False, allow_config_change: bool = False
) -> Segmenter:
    """Train until the recipe's last step.

    Writes `last.safetensors` into the run's folder, and `best.safetensors` where a split is scored.

    Returns:
        The last model, with averaged weights if the recipe asks for them.

    Raises:
        UserError: If there is nothing to resume, the run to resume is another one, nothing can be
            saved, too many photos are unreadable, or the loss was not finite ten times in a row.
        Stopped: If a signal ended the run, after everything was saved.
    """
    recipe, model = run.recipe, run.model.train()
    steps, batch_size = recipe.schedule.steps, recipe.batch_size
    optimizer = make_optimizer(model, recipe.optimizer)
    state = TrainingState(model, optimizer, WeightAverage(model, recipe.ema_decay))

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    if resume:
        _resume(run, state, say, allow_config_change=allow_config_change)
    saver = CheckpointSaver(run.folder / "checkpoints", say)
    report = TrainingReport(
        run.folder, steps=steps, start=state.step, log_every=recipe.log_every, console=console
    )
    limit = recipe.data.max_unreadable * len(run.stream.items)
    batches = make_loader(
        run.stream,
        state.position,
        state.position + (steps - state.step) * batch_size,
        batch_size,
        recipe.workers,
        on_unreadable=UnreadablePhotos(run.folder / "unreadable.jsonl", limit, say).note,
        say=say,
    )
    with StopSignals() as stop, report, contextlib.closing(batches):
        while True:
            if run.score and state.step and state.owes_a_score(recipe):
                _score(run, run.score, state, report, stop)
            if state.owes_a_save(recipe) or (stop.received and not state.is_saved):
                is_last_chance = stop.received is not None or state.step >= steps
                found = state.checkpoint(run.identity)
                state.is_saved = saver.save(found, must_work=is_last_chance)
            if stop.received:
                raise Stopped(state.step)
            if state.step >= steps:
                break

            batch, waited = _timed(batches)
            report.waited_for_data(waited)
            rate = learning_rate(recipe.optimizer.lr, recipe.schedule, state.step)
            set_learning_rate(optimizer, rate)
            result = train_step(model, optimizer, batch, recipe, run.loss)
            state.step += 1
            state.position += batch_size
            state.is_saved = False

            if result.is_finite:
                state.average.update(model, state.step)
                state.num_nonfinite = 0
            else:
                state.num_nonfinite += 1
                _refuse_nonfinite(state, result.loss, batch, report)
            report.step(
                state.step,
                loss=result.loss,
                lr=rate,
                grad_norm=result.grad_norm,
                num_images=batch_size,
            )

    last = state.average.averaged(model)
    _save(last, run.folder / "last.safetensors", {})
    return last


def _resume(
    run: Run, state: TrainingState, say: Callable[[str], None], *, allow_config_change: bool
) -> None:
    """Put the newest checkpoint back; a recipe that changed is kept beside the first one."""
    changes = restore(
        run.folder, state, run.identity, allow_config_change=allow_config_change, say=say
    )
    if changes:
        path = run.folder / f"recipe-from-step-{state.step:08d}.yaml"
        write_new(path, run.recipe.to_yaml().encode(), overwrite=True)
    steps = run.recipe.schedule.steps
    if state.step >= steps:
        say(f"this run is finished: {state.step} of {steps} steps are done")
    else:
        say(f"going on from step {state.step} of {steps}")


def _score(
    run: Run, score: Score, state: TrainingState, report: TrainingReport, stop: StopSignals
) -> None:
    """Score the model and keep the best one; on a signal, leave it for when the run goes on."""

    def break_off_if_told() -> None:
        if stop.received:
            raise Interrupted

    scored = state.average.averaged(run.model)
    try:
        scores = score(scored, break_off_if_told)
    except Interrupted:
        return
    finally:
        run.model.train()
    miou = scores["miou"] or 0.0  # none where no pixel is labelled
    is_best = miou > state.best_miou
    report.score(state.step, miou, is_best=is_best)
    if is_best:
        try:
            _save(scored, run.folder / "best.safetensors", {"val": scores})
            state.best_miou = miou
        except UserError as error:
            report.say(f"warning: {error}; training goes on")
    state.scored_step, state.is_saved = state.step, False


def _refuse_nonfinite(
    state: TrainingState, loss: float, batch: Batch, report: TrainingReport
) -> None:
    positions = batch.positions.tolist()
    report.say(
        f"step {state.step}: loss {loss} is not finite, no weight was moved "
        f"(crops {positions[0]} to {positions[-1]})"
    )
    if state.num_nonfinite >= _MAX_NONFINITE_IN_A_ROW:
        raise UserError(
            f"the loss was not finite {state.num_nonfinite} times in a row, last at step "
            f"{state.step}; lower optimizer.lr, or set optimizer.clip_grad_norm"
        )


def _save(model: Segmenter, path: Path, scores: dict[str, Any]) -> None:
    """Write a model of this run; the run may replace its own file."""
    model.spec = model.spec.model_copy(update={"scores": scores})
    save(model, path, overwrite=True)


def _timed(batches: Iterator[Batch]) -> tuple[Batch, float]:
    """The next batch, and the seconds it was waited for."""
    start = time.perf_counter()
    batch = next(batches)
    return batch, time.perf_counter() - start
