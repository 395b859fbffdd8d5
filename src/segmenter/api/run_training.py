"""`segmenter train`: check the data, build the run, train."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from segmenter.data.trained_on import trained_on_warning, write_trained_on
from segmenter.errors import UserError
from segmenter.extras.checking.before_training import survey_data
from segmenter.files.outputs import write_new
from segmenter.notebook import message_console
from segmenter.options import Execution, Hardware, RunFolder
from segmenter.recipe import Recipe
from segmenter.runtimes.devices import device_line, has_bfloat16
from segmenter.training.inherited_license import inherited_terms
from segmenter.training.launch import (
    check_devices,
    check_execution,
    device_name,
    exact_algorithms,
    launch,
    process_device,
)
from segmenter.training.log.ending import show_ending
from segmenter.training.log.lines import Log, log_to
from segmenter.training.log.summary import summary
from segmenter.training.log.tracking import require_trackers
from segmenter.training.loop import train
from segmenter.training.numbered_runs import claim_folder, newest_run, next_folder
from segmenter.training.origin import read_origin
from segmenter.training.prepare import Run, Survey, prepare
from segmenter.training.processes import (
    Processes,
    check_division,
    init_processes,
    processes_from_env,
)
from segmenter.training.run_folder import CHECKPOINTS, check_run_folder, never_saved, own_folder
from segmenter.training.sizes import sizes_so_far


@dataclass(frozen=True)
class EndedRun:
    """The end of a run."""

    status: int
    """Exit status: 0, or that of the first process that failed."""
    folder: Path
    """Folder of the run."""
    is_reported_here: bool = False
    """True in the one process that prints for the user."""


def run_training(
    recipe: Recipe,
    run: RunFolder,
    hardware: Hardware = Hardware(),
    execution: Execution = Execution(),
) -> EndedRun:
    """Check the data, build the run, train; or start the processes that do.

    Args:
        recipe: The run.
        run: Its folder, and whether to resume it.
        hardware: Where to compute; without `devices`, in this process, or in those that torchrun
            started.
        execution: How the run is computed.

    Returns:
        The exit status, and the folder of the run.

    Raises:
        UserError: If the data, the recipe, the weights, the device or the folder cannot be used.
        Stopped: If a signal ended it, after everything was saved.
    """
    if run.allow_config_change and not run.resume:
        raise UserError("--allow-config-change is for resuming a run; add --resume")
    described = processes_from_env()
    check_devices(hardware.devices, described)
    num_processes = max(hardware.devices or 1, described.count)
    check_division(recipe.batch_size, recipe.accumulate, num_processes)
    check_execution(execution, recipe, num_processes)
    if num_processes > described.count:
        device_name(hardware.device, num_processes)  # refused here, not by each of them
        return _run_in_processes(recipe, run, hardware.device, num_processes, execution)
    with (
        exact_algorithms(execution.deterministic),
        init_processes(device := process_device(hardware.device, described)) as processes,
    ):
        folder = _run_here(recipe, run, device, execution, processes, asked=hardware.device)
        return EndedRun(0, folder, is_reported_here=processes.is_rank_zero)


def _run_here(
    recipe: Recipe,
    options: RunFolder,
    device: torch.device,
    execution: Execution,
    processes: Processes,
    *,
    asked: str,
) -> Path:
    """Train on `device` as one of the processes; return the folder of the run.

    Args:
        recipe: The run.
        options: As in `run_training`.
        device: Where this process computes.
        execution: As in `run_training`.
        processes: The processes of the run.
        asked: The device as the user named it.
    """
    resume, on_rank_zero = options.resume, processes.on_rank_zero
    console = message_console(quiet=not processes.is_rank_zero)
    log = log_to(console)
    folder = on_rank_zero(lambda: options.out or _folder(recipe.name, log, resume=resume))
    survey = partial(_survey, recipe, folder, device, log, resume=resume)
    run = processes.on_all_ranks(
        lambda: prepare(recipe, folder, device, processes, execution, survey, log)
    )
    if options.out is None and not resume:
        run = replace(run, folder=on_rank_zero(lambda: claim_folder(recipe.name)))
    if resume and on_rank_zero(lambda: never_saved(folder)):
        log(f"{folder} has no checkpoint yet: the run starts again")
        resume = False
    with contextlib.ExitStack() as held:
        on_rank_zero(lambda: held.enter_context(_own_folder(run, log, resume=resume)))
        log(device_line(device, asked))
        _describe(run, log, asked=recipe, print_recipe=options.print_recipe)
        train(run, console, resume=resume, allow_config_change=options.allow_config_change)
        if processes.is_rank_zero:
            show_ending(run, console)
    return run.folder


def _describe(run: Run, log: Log, *, asked: Recipe, print_recipe: bool) -> None:
    """Show what the run is; `asked` is its recipe before anything was chosen for it."""
    log(summary(run, is_precision_automatic=asked.precision == "auto"))
    if terms := inherited_terms(run.recipe, run.licenses):
        log(terms)
    if print_recipe:
        log(f"# the recipe of this run\n{run.recipe.to_yaml()}")


def _folder(name: str, log: Log, *, resume: bool) -> Path:
    """Return the folder of a run that was given none."""
    if not resume:
        return next_folder(name)
    folder, count = newest_run(name)
    if count > 1:
        log(f"resuming {folder}, the newest of {count} runs; --out names another")
    return folder


@contextlib.contextmanager
def _claimed(name: str, out: Path | None, *, resume: bool) -> Iterator[Path]:
    """Give the folder of a run before its processes start; removed again if they leave it empty."""
    is_claimed = out is None and not resume
    folder = claim_folder(name) if is_claimed else out
    try:
        yield folder or _folder(name, log_to(message_console()), resume=resume)
    finally:
        if is_claimed and folder:
            with contextlib.suppress(OSError):  # it holds the run
                folder.rmdir()


def _run_in_processes(
    recipe: Recipe, run: RunFolder, device: str, count: int, execution: Execution
) -> EndedRun:
    """Train in several processes that are started here; each is given the flags of this one."""
    flags = {
        "resume": run.resume,
        "allow-config-change": run.allow_config_change,
        "print-recipe": run.print_recipe,
        **vars(execution),
    }
    given = [f"--{flag}" for flag, is_given in flags.items() if is_given]
    if custom := recipe.augment.custom:  # which the user named, so each process may run it
        given += ["--augment.custom", custom]
    with _claimed(recipe.name, run.out, resume=run.resume) as folder:
        arguments = [*given, "--device", device, "--out", str(folder)]
        return EndedRun(_launch(recipe, count, arguments), folder)


def _launch(recipe: Recipe, count: int, arguments: list[str]) -> int:
    """Start the processes of a run; each reads the recipe as it is now, with all its changes."""
    with tempfile.TemporaryDirectory(prefix="segmenter-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        return launch([sys.executable, "-m", "segmenter", "train", str(path), *arguments], count)


def _survey(
    recipe: Recipe, folder: Path, device: torch.device, log: Log, *, resume: bool
) -> Survey:
    """Resolve the precision, check trackers and folder, and read every image and mask.

    Raises:
        UserError: If trackers, the run's folder or the data set do not allow the run.
    """
    precision = _precision_on(device, recipe.precision, log)
    require_trackers(recipe.track)
    check_run_folder(folder, resume=resume)
    if not resume:
        return survey_data(recipe.model_copy(update={"precision": precision}), log)
    recipe = sizes_so_far(recipe, folder).model_copy(update={"precision": precision})
    return replace(survey_data(recipe, log), resumed_origin=read_origin(folder / CHECKPOINTS))


@contextlib.contextmanager
def _own_folder(run: Run, log: Log, *, resume: bool) -> Iterator[None]:
    """Lock the run's folder, and write into it what identifies the run.

    That is the recipe of a new run, and the list of images that it trains on.
    """
    with own_folder(run.folder, log):
        if not resume:
            recipe = run.recipe.to_yaml().encode()
            write_new(run.folder / "recipe.yaml", recipe, overwrite=never_saved(run.folder))
        weights = run.recipe.model.weights
        start = Path(weights) if weights and Path(weights).is_file() else None
        write_trained_on(run.folder, [item.image for item in run.stream.items], start)
        evaluated = [item.image for item in run.survey.val]
        if warning := trained_on_warning("the models of this run", run.folder, evaluated):
            log(warning)
        yield


def _precision_on(device: torch.device, precision: str, log: Log) -> str:
    """Resolve `auto` for a device; warn if the precision is slow there."""
    is_native = has_bfloat16(device)
    if precision == "auto":
        return "bfloat16" if is_native else "float32"
    if precision == "bfloat16" and not is_native and device.type in ("cpu", "cuda"):
        name = {"cpu": "CPU", "cuda": "GPU"}[device.type]
        log(
            f"warning: this {name} has no bfloat16 arithmetic, and may take ten times as long as "
            "in float32; precision auto takes what is fast"
        )
    return precision
