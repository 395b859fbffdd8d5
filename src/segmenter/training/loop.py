"""The training loop, to be read from top to bottom.

Sample order, augmentation, stochastic depth, dropout and learning rate are functions of the seed
and the step, so a run that goes on from a checkpoint gives the same bits as one that never stopped.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from torch.amp import GradScaler

from segmenter.checkpoints.model_file import save
from segmenter.data.loading import Batch, SampleStream, make_loader
from segmenter.data.unreadable import UnreadableImages
from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.text import visible
from segmenter.training.checkpoint import CheckpointSaver
from segmenter.training.ema import WeightAverage
from segmenter.training.log.report import TrainingReport
from segmenter.training.log.tracking import Pictures
from segmenter.training.losses import Loss
from segmenter.training.optimizer import (
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from segmenter.training.parallel import (
    Execution,
    ForwardPass,
    choose_attention,
    connect,
    share_out,
)
from segmenter.training.processes import SINGLE_PROCESS, Processes
from segmenter.training.resume import resume_run
from segmenter.training.run_folder import CHECKPOINTS, check_room
from segmenter.training.signals import Interrupted, Stopped, StopSignals
from segmenter.training.state import TrainingState
from segmenter.training.step import Engine, train_step
from segmenter.training.teacher import Teacher

_MAX_NONFINITE_IN_A_ROW = 10

Score = Callable[[Segmenter, Callable[[], None]], dict[str, Any]]
"""Scores a model on the validation split: JSON with `miou` in 0 to 1.

What it is given is called after each image, and raises `Interrupted` to break off.
"""

Draw = Callable[[Segmenter], Pictures]
"""Draws what a model makes of a few validation images, always the same ones."""


@dataclass(frozen=True)
class Run:
    """One training run: what it needs, and the folder it writes."""

    recipe: Recipe
    model: Segmenter
    stream: SampleStream
    loss: Loss
    score: Score | None
    draw: Draw | None
    folder: Path
    identity: dict[str, Any]
    """What may not change on resume: recipe, classes, names of the images, and the teacher."""
    teacher: Teacher | None = None
    processes: Processes = SINGLE_PROCESS
    execution: Execution = field(default_factory=Execution)


def train(
    run: Run, console: Console, *, resume: bool = False, allow_config_change: bool = False
) -> Segmenter:
    """Train until the recipe's last step, or until `stop_after` scores in a row are no new best.

    Every process of the run does the same.

    The first one writes `last.safetensors` into the run's folder, and `best.safetensors` where a
    split is scored.

    Returns:
        The last model, with averaged weights if the recipe asks for them.

    Raises:
        UserError: If there is nothing to resume, the run to resume is another one, nothing can be
            saved, too many images are unreadable, the loss was not finite ten times in a row, or a
            batch cannot be shared out over the processes.
        Stopped: If a signal ended the run, after everything was saved.
    """
    recipe, model, processes = run.recipe, run.model.train(), run.processes
    steps, batch_size = recipe.schedule.steps, recipe.batch_size
    choose_attention(model, recipe.precision)
    network = share_out(model, processes) if run.execution.shard else ForwardPass(model)
    if run.execution.compile:
        network.compile()
    optimizer = make_optimizer(model, recipe.optimizer)
    average = WeightAverage(model, recipe.ema_decay)
    device = next(model.parameters()).device.type
    scaler = GradScaler(device, enabled=recipe.precision == "float16")
    state = TrainingState(model, optimizer, average, scaler)

    loud = console if processes.is_first else Console(stderr=True)

    def warn(line: str) -> None:
        loud.print(visible(line, keep="\n"), highlight=False, markup=False, soft_wrap=True)

    if resume:
        resume_run(run.folder, state, recipe, run.identity, processes, console, allow_config_change)
    processes.on_rank_zero(lambda: check_room(run.folder, _sizes_of_a_save(state, recipe)))
    engine = Engine(connect(network, processes), processes, scaler, run.teacher)
    saver = CheckpointSaver(run.folder / CHECKPOINTS, warn)
    report = TrainingReport(
        run.folder if processes.is_first else None, recipe, start=state.step, console=console
    )
    limit = recipe.data.max_unreadable * len(run.stream.items)
    stop = StopSignals()
    batches = make_loader(
        run.stream,
        state.position,
        state.position + (steps - state.step) * batch_size,
        batch_size,
        recipe.workers,
        share=(processes.rank, processes.count),
        on_unreadable=UnreadableImages(run.folder / "unreadable.jsonl", limit, warn).note,
        say=warn,
        is_stopping=lambda: stop.received is not None,
    )
    with stop, report, contextlib.closing(batches):
        while True:
            must_stop = processes.any(stop.received is not None)
            if run.score and not must_stop and state.step and state.is_evaluation_due(recipe):
                must_stop = not _score(run, run.score, state, report, stop)
            if state.is_checkpoint_due(recipe) or (must_stop and not state.is_saved):
                save_now = functools.partial(
                    saver.save,
                    state.checkpoint(run.identity),
                    must_work=must_stop or state.is_finished(recipe),
                )
                state.is_saved = processes.on_rank_zero(save_now)
            if must_stop:
                raise Stopped(state.step, is_told=processes.is_first)
            if state.is_finished(recipe):
                break

            batch, waited = processes.on_all_ranks(functools.partial(_timed, batches))
            if processes.any(batch is None):  # a signal came while one of them waited
                continue
            assert batch is not None
            report.waited_for_data(waited)
            rate = learning_rate(recipe.optimizer.lr, recipe.schedule, state.step)
            set_learning_rate(optimizer, rate)
            if recipe.model.decoder_masking is not False:
                model.decoder.before_step(state.step / steps)
            result = train_step(model, optimizer, batch, recipe, run.loss, engine)
            state.step += 1
            state.position += batch_size
            state.is_saved = False

            if result.is_finite:
                state.average.update(model, state.step)
                state.num_nonfinite = 0
            else:
                state.num_nonfinite += 1
                report.say(
                    f"step {state.step}: loss {result.loss}, gradient norm {result.grad_norm}: not "
                    f"finite, no weight was moved (crops {state.position - batch_size} to "
                    f"{state.position - 1})"
                )
                processes.on_rank_zero(functools.partial(_check_nonfinite, state))
            report.step(
                state.step,
                loss=result.loss,
                lr=rate,
                grad_norm=result.grad_norm,
                num_images=batch_size,
            )

    if state.is_early_stopped(recipe):
        report.say(
            f"stopped at step {state.step} of {steps}: the last {state.scores_since_best} scores "
            f"did not beat the best one, {state.best_miou:.4f} (stop_after: {recipe.stop_after})"
        )
    last = state.average.averaged(model)
    processes.on_rank_zero(lambda: _save(last, run.folder / "last.safetensors", {}))
    return last


def _score(
    run: Run, score: Score, state: TrainingState, report: TrainingReport, stop: StopSignals
) -> bool:
    """Score the model and keep the best one.

    Returns:
        False if a signal broke it off: it is then done when the run goes on.
    """

    def break_off_if_told() -> None:
        if run.processes.any(stop.received is not None):
            raise Interrupted

    scored = state.average.averaged(run.model)
    try:
        scores = score(scored, break_off_if_told)
    except Interrupted:
        return False
    finally:
        run.model.train()
    miou = scores["miou"] or 0.0  # none where no pixel is labelled
    is_best = miou > state.best_miou
    draw = functools.partial(run.draw, scored) if run.draw else None
    report.score(state.step, miou, is_best=is_best, draw=draw)
    state.scores_since_best = 0 if is_best else state.scores_since_best + 1

    def keep() -> bool:
        try:
            _save(scored, run.folder / "best.safetensors", {"val": scores})
        except UserError as error:
            report.say(f"warning: {error}; training goes on")
            return False
        return True

    if is_best and run.processes.on_rank_zero(keep):
        state.best_miou = miou
    state.scored_step, state.is_saved = state.step, False
    return True


def _check_nonfinite(state: TrainingState) -> None:
    if state.num_nonfinite >= _MAX_NONFINITE_IN_A_ROW:
        raise UserError(
            f"the loss was not finite {state.num_nonfinite} times in a row, last at step "
            f"{state.step}; lower optimizer.lr, or set optimizer.clip_grad_norm"
        )


def _save(model: Segmenter, path: Path, scores: dict[str, Any]) -> None:
    """Write a model of this run; the run may replace its own file."""
    model.spec = model.spec.model_copy(update={"scores": scores})
    save(model, path, overwrite=True)


def _sizes_of_a_save(state: TrainingState, recipe: Recipe) -> list[int]:
    """Bytes of each file of a checkpoint, and of the last model."""
    model = sum(tensor.nbytes for tensor in state.model.state_dict().values())
    optimizer = sum(each.nbytes for each in state.model.parameters() if each.requires_grad)
    if recipe.optimizer.name == "adamw":
        optimizer *= 2
    return [model, optimizer, model if recipe.ema_decay else 0, model]


def _timed(batches: Iterator[Batch]) -> tuple[Batch | None, float]:
    """The next batch, none if a signal broke off the wait; and the seconds it was waited for."""
    start = time.perf_counter()
    batch = next(batches, None)
    return batch, time.perf_counter() - start
