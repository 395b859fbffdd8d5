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

import torch
from rich.console import Console

from segmenter.checkpoints.own import save
from segmenter.data.loading import Batch, SampleStream, make_loader
from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_newest,
    restore_optimizer,
    write_checkpoint,
)
from segmenter.training.ema import WeightAverage
from segmenter.training.losses import Loss
from segmenter.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from segmenter.training.report import TrainingReport
from segmenter.training.signals import Stopped, StopSignals
from segmenter.training.step import train_step

_MAX_NONFINITE_IN_A_ROW = 10

Score = Callable[[Segmenter], dict[str, Any]]
"""Scores a model on the validation split: JSON with `miou` in 0 to 1."""


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
    """What may not change on resume: the recipe and a hash of the file list."""


def train(run: Run, console: Console, *, resume: bool = False) -> Segmenter:
    """Train until the recipe's last step.

    Writes `last.safetensors` into the run's folder, and `best.safetensors` where a split is scored.

    Returns:
        The last model, with averaged weights if the recipe asks for them.

    Raises:
        UserError: If there is nothing to resume, the run to resume is another one, or the loss was
            not finite ten times in a row.
        Stopped: If a signal ended the run, after everything was saved.
    """
    recipe, model = run.recipe, run.model.train()
    steps, batch_size = recipe.schedule.steps, recipe.batch_size
    optimizer = make_optimizer(model, recipe.optimizer)
    average = WeightAverage(model, recipe.ema_decay)
    checkpoints = run.folder / "checkpoints"
    step, best_miou, num_nonfinite = 0, -1.0, 0
    if resume:
        step, best_miou = _restore(run, optimizer, average, console)

    def checkpoint() -> None:
        tensors = {
            "model": model.state_dict(),
            "optimizer": optimizer_tensors(optimizer),
            "average": average.tensors,
        }
        facts = run.identity | {"best_miou": best_miou}
        write_checkpoint(checkpoints, Checkpoint(step, tensors, facts))

    report = TrainingReport(
        run.folder, steps=steps, start=step, log_every=recipe.log_every, console=console
    )
    batches = make_loader(
        run.stream, step * batch_size, steps * batch_size, batch_size, recipe.workers
    )
    if not resume:
        checkpoint()  # so that a run that dies early can be resumed too
    with StopSignals() as stop, report, contextlib.closing(batches):
        for batch, waited in _timed(batches):
            report.waited_for_data(waited)
            rate = learning_rate(recipe.optimizer.lr, recipe.schedule, step)
            set_learning_rate(optimizer, rate)
            result = train_step(model, optimizer, batch, recipe, run.loss)
            step += 1

            if result.is_finite:
                average.update(model, step)
                num_nonfinite = 0
            else:
                num_nonfinite += 1
                report.say(f"step {step}: loss {result.loss} is not finite, no weight was moved")
                if num_nonfinite >= _MAX_NONFINITE_IN_A_ROW:
                    raise UserError(
                        f"the loss was not finite {num_nonfinite} times in a row, last at step "
                        f"{step}; lower optimizer.lr, or set optimizer.clip_grad_norm"
                    )
            report.step(
                step, loss=result.loss, lr=rate, grad_norm=result.grad_norm, num_images=batch_size
            )

            if run.score and (step % recipe.evaluate_every == 0 or step == steps):
                scored = average.averaged(model)
                scores = run.score(scored)
                miou = scores["miou"] or 0.0  # none where no pixel is labelled
                is_best = miou > best_miou
                report.score(step, miou, is_best=is_best)
                if is_best:
                    best_miou = miou
                    _save(scored, run.folder / "best.safetensors", {"val": scores})
                model.train()
            if stop.received or step == steps or step % recipe.save_every == 0:
                checkpoint()
            if stop.received and step < steps:
                raise Stopped(stop.received)

    last = average.averaged(model)
    _save(last, run.folder / "last.safetensors", {})
    return last


def _restore(
    run: Run, optimizer: torch.optim.Optimizer, average: WeightAverage, console: Console
) -> tuple[int, float]:
    """Put the newest checkpoint back; returns the steps done and the best score so far."""
    device = next(run.model.parameters()).device
    found, warnings = read_newest(run.folder / "checkpoints", device)
    for warning in warnings:
        console.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    differences = _differences(found.facts, run.identity)
    if differences:
        raise UserError(
            f"{run.folder} holds another run, it cannot be resumed: {'; '.join(differences)}"
        )
    run.model.load_state_dict(found.tensors["model"])
    restore_optimizer(optimizer, found.tensors["optimizer"])
    average.tensors = found.tensors["average"]
    console.print(
        f"going on from step {found.step} of {run.recipe.schedule.steps}", highlight=False
    )
    return found.step, found.facts["best_miou"]


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Each field that differs, as `name: before -> now`."""
    found = []
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found += _differences(old, value, f"{prefix}{key}.")
        elif old != value:
            found.append(f"{prefix}{key}: {old} -> {value}")
    return found


def _save(model: Segmenter, path: Path, scores: dict[str, Any]) -> None:
    """Write a model of this run; the run may replace its own file."""
    model.spec = model.spec.model_copy(update={"scores": scores})
    save(model, path, overwrite=True)


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch, and the seconds it was waited for."""
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - start
