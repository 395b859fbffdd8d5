"""The training loop; read it from top to bottom.

Sample order, augmentation, stochastic depth, dropout and learning rate are functions of the seed
and the step, so a run that resumes from a checkpoint gives the same bits as one that never stopped.
"""

import contextlib
import functools
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from torch.amp import GradScaler

from segmenter.checkpoints.model_file import save
from segmenter.data.loading import Batch, make_loader
from segmenter.data.unreadable import UnreadableImages
from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.text import percent
from segmenter.training.checkpoint import CheckpointSaver
from segmenter.training.ema import WeightAverage
from segmenter.training.log.lines import Log, log_to
from segmenter.training.log.report import TrainingReport
from segmenter.training.optimizer import (
    encoder_share,
    freeze,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from segmenter.training.parallel import DistributedModel, choose_attention
from segmenter.training.prepare import Run
from segmenter.training.processes import PeerFailed, Processes
from segmenter.training.resume import resume_run
from segmenter.training.run_folder import CHECKPOINTS, check_room
from segmenter.training.signals import Interrupted, Stopped, StopSignals
from segmenter.training.state import TrainingState
from segmenter.training.step import StepResult, train_step
from segmenter.training.teacher import Teacher
from segmenter.training.validation import Validation

_MAX_NONFINITE_IN_A_ROW = 10


def train(
    run: Run, console: Console, *, resume: bool = False, allow_config_change: bool = False
) -> Segmenter:
    """Train until the last step, or until `stop_after` scores in a row are not a new best.

    Every process of the run calls this. Rank 0 writes `last.safetensors` into the run's folder, and
    `best.safetensors` where a split is evaluated.

    Returns:
        The last model, with averaged weights if the recipe asks for them.

    Raises:
        UserError: If the run to resume is missing or differs, nothing can be saved, too many images
            are unreadable, or the loss was not finite ten times in a row.
        Stopped: If a signal ended the run, after everything was saved.
    """
    recipe, processes = run.recipe, run.processes
    freeze(run.model.train(), recipe.optimizer)
    choose_attention(run.model, recipe.precision)
    model = DistributedModel(run.model, processes, run.execution)
    optimizer = make_optimizer(run.model, recipe.optimizer, run.origin.magnitudes)
    scaler = GradScaler(model.device.type, enabled=recipe.precision == "float16")
    state = TrainingState(run.model, optimizer, WeightAverage(run.model, recipe.ema_decay), scaler)
    teacher = run.teacher or _moving_teacher(run, state)
    if resume:
        resume_run(run, state, log_to(console), allow_config_change=allow_config_change)
    processes.on_rank_zero(lambda: check_room(run.folder, state.file_sizes(recipe)))

    report = TrainingReport(
        run.folder if processes.is_rank_zero else None, recipe, start=state.step, console=console
    )
    warn = log_to(console if processes.is_rank_zero else Console(stderr=True))
    state.limit.say = report.say
    saver, stop = CheckpointSaver(run.folder / CHECKPOINTS, warn), StopSignals()
    with stop, report, contextlib.closing(_read_batches(run, state, stop, warn)) as batches:
        # A new run saves where it starts; one that was stopped may have to evaluate first.
        _evaluate_save_stop(run, state, report, saver, stop)
        while not state.is_finished(recipe):
            batch = _next_batch(batches, processes, report)
            if batch is not None:
                rate = learning_rate(recipe.optimizer.lr, recipe.schedule, state.step)
                share = encoder_share(recipe.schedule, state.step)
                set_learning_rate(optimizer, rate, share)
                run.model.decoder.before_step(state.step / recipe.schedule.steps)
                result = train_step(
                    model, optimizer, batch, recipe, run.loss, scaler, teacher, state.limit
                )
                state.advance(recipe.batch_size, is_finite=result.is_finite)
                if not result.is_finite:
                    _warn_or_end(result, state, recipe, processes, report)
                report.step(state.step, loss=result.loss, lr=rate, grad_norm=result.grad_norm)
            _evaluate_save_stop(run, state, report, saver, stop)

    if state.is_early_stopped(recipe):
        report.say(_describe_early_stop(state, recipe))
    last = state.average.averaged(run.model)
    processes.on_rank_zero(lambda: _save_model(last, run.folder / "last.safetensors", {}))
    return last


def _moving_teacher(run: Run, state: TrainingState) -> Teacher | None:
    """Return the teacher that is the average of the weights, if the recipe asks for it.

    It shares its memory with the average, and so moves with it.
    """
    given = run.recipe.loss.teacher
    if given is None or not given.is_average:
        return None
    ignore_index = run.model.spec.classes.ignore_index
    return Teacher(state.average.averaged(run.model), given, ignore_index)


def _evaluate_save_stop(
    run: Run,
    state: TrainingState,
    report: TrainingReport,
    saver: CheckpointSaver,
    stop: StopSignals,
) -> None:
    """Evaluate, save and stop, each if it is due after the step just done.

    Raises:
        Stopped: If a process has received a signal, after everything was saved.
    """
    recipe, processes = run.recipe, run.processes
    is_stopping = processes.any(stop.received is not None)
    if run.validation and not is_stopping and state.is_evaluation_due(recipe):
        is_stopping = not _evaluate(run, run.validation, state, report, stop)
    if state.is_checkpoint_due(recipe) or (is_stopping and not state.is_saved):
        checkpoint = state.checkpoint(run.identity, run.origin)
        must_work = is_stopping or state.is_finished(recipe)
        state.is_saved = processes.on_rank_zero(lambda: saver.save(checkpoint, must_work=must_work))
    if is_stopping:
        raise Stopped(state.step, is_reported=processes.is_rank_zero)


def _evaluate(
    run: Run,
    validation: Validation,
    state: TrainingState,
    report: TrainingReport,
    stop: StopSignals,
) -> bool:
    """Evaluate the model and keep the best one.

    Returns:
        False if a signal interrupted it; the evaluation is repeated when the run resumes.
    """
    count = report.evaluating(validation.num_rounds)

    def interrupt_on_signal() -> None:
        count()
        if run.processes.any(stop.received is not None):
            raise Interrupted

    model = state.average.averaged(run.model)
    try:
        scores = validation.evaluate(model, interrupt_on_signal)
    except Interrupted:
        return False
    finally:
        run.model.train()
    miou = scores["miou"] or 0.0  # None where no pixel is labelled
    is_best = miou > state.best_miou
    report.score(state.step, miou, is_best=is_best, draw=functools.partial(validation.draw, model))
    state.scores_since_best = 0 if is_best else state.scores_since_best + 1

    def keep() -> bool:
        try:
            _save_model(model, run.folder / "best.safetensors", {"val": scores})
        except UserError as error:
            report.say(f"warning: {error}; training continues")
            return False
        return True

    if is_best and run.processes.on_rank_zero(keep):
        state.best_miou = miou
    state.scored_step, state.is_saved = state.step, False
    return True


def _read_batches(run: Run, state: TrainingState, stop: StopSignals, warn: Log) -> Generator[Batch]:
    """Read this process's share of the remaining batches, until a signal arrives."""
    recipe, processes = run.recipe, run.processes
    num_crops = (recipe.schedule.steps - state.step) * recipe.batch_size
    limit = recipe.data.max_unreadable * len(run.stream.items)
    return make_loader(
        run.stream,
        range(state.position, state.position + num_crops),
        recipe.batch_size,
        recipe.workers,
        share=(processes.rank, processes.count),
        on_unreadable=UnreadableImages(run.folder / "unreadable.jsonl", limit, warn).note,
        say=warn,
        is_stopping=lambda: stop.received is not None,
    )


def _next_batch(
    batches: Iterator[Batch], processes: Processes, report: TrainingReport
) -> Batch | None:
    """Return the next batch, or None if a signal ended the wait on any rank."""

    def wait() -> tuple[Batch | None, float]:
        start = time.perf_counter()
        return next(batches, None), time.perf_counter() - start

    batch, seconds = processes.on_all_ranks(wait)
    report.waited_for_data(seconds)
    return None if processes.any(batch is None) else batch


def _warn_or_end(
    result: StepResult,
    state: TrainingState,
    recipe: Recipe,
    processes: Processes,
    report: TrainingReport,
) -> None:
    """Report a step that was skipped because loss or gradients are not finite.

    Raises:
        UserError: If ten steps in a row were skipped.
    """
    first = state.position - recipe.batch_size
    report.say(
        f"step {state.step}: loss {result.loss}, gradient norm {result.grad_norm}: not finite, no "
        f"weight was moved (crops {first} to {state.position - 1})"
    )
    if state.num_nonfinite < _MAX_NONFINITE_IN_A_ROW:
        return
    if not processes.is_rank_zero:
        raise PeerFailed
    raise UserError(
        f"the loss was not finite {state.num_nonfinite} times in a row, last at step {state.step}; "
        "lower optimizer.lr, or set optimizer.clip_grad_norm"
    )


def _describe_early_stop(state: TrainingState, recipe: Recipe) -> str:
    return (
        f"stopped at step {state.step} of {recipe.schedule.steps}: the last "
        f"{state.scores_since_best} scores did not beat the best one, {percent(state.best_miou)} "
        f"(stop_after: {recipe.stop_after})"
    )


def _save_model(model: Segmenter, path: Path, scores: dict[str, Any]) -> None:
    """Write a model of this run, replacing an earlier file of it."""
    model.spec = model.spec.model_copy(update={"scores": scores})
    save(model, path, overwrite=True)
