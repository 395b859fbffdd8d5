"""`segmenter train`: check the data, build the run, train."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from segmenter.errors import UserError
from segmenter.extras.checking.before_training import survey_data
from segmenter.files.outputs import write_new
from segmenter.options import Execution
from segmenter.recipe import Recipe
from segmenter.runtimes.devices import has_bfloat16
from segmenter.training.launch import (
    check_devices,
    check_execution,
    device_name,
    exact_algorithms,
    launch,
    process_device,
)
from segmenter.training.log.lines import Log, log_to
from segmenter.training.log.tracking import require_trackers
from segmenter.training.loop import train
from segmenter.training.prepare import Run, Survey, prepare
from segmenter.training.processes import check_division, init_processes, processes_from_env
from segmenter.training.run_folder import check_run_folder, own_folder


def run_training(
    recipe: Recipe,
    out: Path | None,
    device: str | None = None,
    *,
    devices: int | None = None,
    execution: Execution = Execution(),
    resume: bool = False,
    allow_config_change: bool = False,
) -> int:
    """Check the data, build the run, train; or start the processes that do.

    Args:
        recipe: The run.
        out: Folder of the run; if None, `runs/` and the recipe's name.
        device: Where to compute; if None, the CPU for one process, GPUs if available for more.
        devices: Processes on this machine; if None, this one, or those that torchrun started.
        execution: How the run is computed.
        resume: Resume from the newest checkpoint.
        allow_config_change: Resume even though the recipe or the data changed.

    Returns:
        Exit status.

    Raises:
        UserError: If data, recipe, weights, device or folder do not allow the run.
        Stopped: If a signal ended it, after everything was saved.
    """
    if allow_config_change and not resume:
        raise UserError("--allow-config-change is for resuming a run; add --resume")
    described = processes_from_env()
    check_devices(devices, described)
    num_processes = max(devices or 1, described.count)
    check_division(recipe.batch_size, recipe.accumulate, num_processes)
    check_execution(execution, recipe.precision, num_processes)
    if num_processes > described.count:
        flags = {"resume": resume, "allow-config-change": allow_config_change, **vars(execution)}
        given = [f"--{flag}" for flag, is_given in flags.items() if is_given]
        given += ["--out", str(out)] if out else []
        given += ["--device", device_name(device, num_processes)]
        return _launch(recipe, num_processes, given)
    with (
        exact_algorithms(execution.deterministic),
        init_processes(own_device := process_device(device, described)) as processes,
        contextlib.ExitStack() as held,
    ):
        console = Console(stderr=True, quiet=not processes.is_rank_zero)
        folder, log = out or Path("runs") / recipe.name, log_to(console)
        survey = partial(_survey, recipe, folder, own_device, log, resume=resume)
        run = processes.on_all_ranks(
            lambda: prepare(recipe, folder, own_device, processes, execution, survey, log)
        )
        processes.on_rank_zero(lambda: held.enter_context(_own_folder(run, log, resume=resume)))
        train(run, console, resume=resume, allow_config_change=allow_config_change)
        if processes.is_rank_zero:
            print(folder / "last.safetensors")
    return 0


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
    return survey_data(recipe.model_copy(update={"precision": precision}), log)


@contextlib.contextmanager
def _own_folder(run: Run, log: Log, *, resume: bool) -> Iterator[None]:
    """Keep other processes out of the run's folder; a new run's recipe is written there."""
    with own_folder(run.folder, log):
        if not resume:
            recipe = run.recipe.to_yaml().encode()
            write_new(run.folder / "recipe.yaml", recipe, overwrite=False)
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
