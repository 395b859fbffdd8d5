"""`segmenter train`: check the data, build the run, train."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console

from segmenter.data.decoding.set_depth import describe_bits, set_bits
from segmenter.data.loading import bytes_ahead
from segmenter.data.masks.missing_classes import ask_for_classes
from segmenter.data.masks.problems import Severity
from segmenter.data.published.open import open_data, split_name
from segmenter.data.readers import shared_memory_note
from segmenter.data.training_split import training_items
from segmenter.errors import UserError
from segmenter.extras.checking.before_training import read_training_data
from segmenter.extras.checking.findings import group, one_line
from segmenter.extras.checking.split_facts import missing_classes
from segmenter.files.outputs import write_new
from segmenter.recipe import Recipe
from segmenter.runtimes.devices import has_bfloat16
from segmenter.text import visible
from segmenter.training.launch import (
    check_execution,
    device_name,
    exact_algorithms,
    launch,
    place_of,
)
from segmenter.training.log.tracking import require_trackers
from segmenter.training.loop import train
from segmenter.training.parallel import Execution
from segmenter.training.prepare import (
    Run,
    build_loss,
    build_model,
    build_stream,
    build_teacher,
    run_identity,
)
from segmenter.training.processes import (
    Processes,
    check_division,
    init_processes,
    processes_from_env,
)
from segmenter.training.run_folder import check_run_folder, own_folder
from segmenter.training.validation import Validation


def run_training(
    recipe: Recipe,
    out: Path | None,
    device: str | None = None,
    *,
    devices: int | None = None,
    execution: Execution = Execution(),  # noqa: B008 - it is frozen
    resume: bool = False,
    allow_config_change: bool = False,
) -> int:
    """Check the data, build the run, train; or start the processes that do.

    Args:
        recipe: What to do.
        out: Folder of the run; none: `runs/` and the recipe's name.
        device: Where to compute; none: the CPU for one process, GPUs if there are any for more.
        devices: Processes on this machine; none: this one, or those that torchrun started.
        execution: How it is computed.
        resume: Go on from the newest checkpoint.
        allow_config_change: Though recipe or images changed.

    Returns:
        Exit status.

    Raises:
        UserError: If data, recipe, weights, device or folder do not allow the run.
        Stopped: If a signal ended it, after everything was saved.
    """
    if allow_config_change and not resume:
        raise UserError("--allow-config-change is for a run that goes on; add --resume")
    if devices is not None and devices < 1:
        raise UserError(f"--devices is {devices}; a run needs at least 1")
    described = processes_from_env()
    num_here = int(os.environ.get("LOCAL_WORLD_SIZE", described.count))
    num_processes = max(devices or 1, described.count)
    check_division(recipe.batch_size, recipe.accumulate, num_processes)
    check_execution(execution, recipe.precision, num_processes)
    if devices is not None and devices > 1 and described.count == 1:
        flags = {"resume": resume, "allow-config-change": allow_config_change, **vars(execution)}
        given = [f"--{flag}" for flag, is_given in flags.items() if is_given]
        given += ["--out", str(out)] if out else []
        return _launch(recipe, devices, [*given, "--device", device_name(device, devices)])
    if devices is not None and devices != num_here:
        raise UserError(
            f"--devices is {devices}, but {num_here} processes were started on this machine; leave "
            "--devices away"
        )
    with (
        exact_algorithms(execution.deterministic),
        init_processes(place := place_of(device, described, num_here)) as processes,
    ):
        _train(
            recipe,
            out or Path("runs") / recipe.name,
            place,
            processes,
            execution=execution,
            resume=resume,
            allow_config_change=allow_config_change,
        )
    return 0


def _launch(recipe: Recipe, count: int, arguments: list[str]) -> int:
    """Start the processes of a run; each reads the recipe as it is now, with all its changes."""
    with tempfile.TemporaryDirectory(prefix="segmenter-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        return launch([sys.executable, "-m", "segmenter", "train", str(path), *arguments], count)


def _train(
    recipe: Recipe,
    folder: Path,
    place: torch.device,
    processes: Processes,
    *,
    execution: Execution,
    resume: bool,
    allow_config_change: bool,
) -> None:
    """What each process of a run does."""
    console = Console(stderr=True, quiet=not processes.is_rank_zero)

    def say(line: str) -> None:
        console.print(visible(line, keep="\n"), highlight=False, markup=False, soft_wrap=True)

    precision = processes.on_rank_zero(lambda: _precision_on(place, recipe.precision, say))
    is_chosen = recipe.precision == "auto"
    recipe = recipe.model_copy(update={"precision": precision})
    processes.on_rank_zero(lambda: require_trackers(recipe.track))
    processes.on_rank_zero(lambda: check_run_folder(folder, resume=resume))
    root = recipe.data.root
    if split_name(root) is None:
        processes.on_rank_zero(lambda: ask_for_classes(Path(root)))
    data = processes.on_all_ranks(lambda: open_data(root))
    train_items, val_items = processes.on_all_ranks(lambda: training_items(recipe, data))
    found = processes.on_rank_zero(
        lambda: read_training_data(
            data,
            train_items,
            val_items,
            workers=recipe.workers,
            max_unreadable=recipe.data.max_unreadable,
        )
    )
    pixel_counts = found.pixel_counts
    absent = missing_classes(pixel_counts.sum(axis=0), data.classes, "the training images")
    for finding in group((*found.problems, *absent)):
        if finding.severity is not Severity.NOTE or finding.kind == "dropped-band":
            say(f"{finding.severity}: {one_line(finding)}")
    depth = describe_bits(found.deep_images, data.classes.image_bits)
    if depth:
        say(depth)
    bits = set_bits(found.deep_images, data.classes.image_bits)
    classes = data.classes.model_copy(update={"image_bits": bits})
    model = processes.on_all_ranks(lambda: build_model(recipe, classes, say)).to(place)
    stream = processes.on_all_ranks(lambda: build_stream(recipe, model, train_items, pixel_counts))
    teacher = processes.on_all_ranks(lambda: build_teacher(recipe, model, place))
    say(f"# the recipe of this run\n{recipe.to_yaml()}")
    say(f"{root}: {len(train_items)} images to train on, {len(val_items)} to score on")
    if num_unlabelled := len(stream.items) - stream.num_labelled:
        say(f"{num_unlabelled} images without labels, for the teacher to speak of")
    if processes.count > 1:
        kept = "a part of the weights" if execution.shard else "a copy of the model"
        say(f"{processes.count} processes on {place.type}, {kept} in each")
    ahead = bytes_ahead(
        recipe.batch_size, recipe.augment.crop_size, model.spec.encoder.in_channels, recipe.workers
    )
    if note := shared_memory_note(ahead):
        say(note)
    run = Run(
        recipe=recipe,
        model=model,
        stream=stream,
        loss=build_loss(recipe, classes, pixel_counts),
        validation=Validation(val_items, recipe, processes) if val_items else None,
        folder=folder,
        identity=run_identity(recipe, classes, stream.items, teacher),
        teacher=teacher,
        processes=processes,
        execution=execution,
    )
    with contextlib.ExitStack() as held:
        processes.on_rank_zero(lambda: held.enter_context(own_folder(folder, say)))
        if not resume:
            text = recipe.to_yaml().encode()
            processes.on_rank_zero(lambda: write_new(folder / "recipe.yaml", text, overwrite=False))
        if is_chosen:
            say(f"precision auto: {precision} on this device ({place.type})")
        train(run, console, resume=resume, allow_config_change=allow_config_change)
    if processes.is_rank_zero:
        print(folder / "last.safetensors")


def _precision_on(place: torch.device, precision: str, say: Callable[[str], None]) -> str:
    """What a precision means on a device; says so if that one is slow there."""
    is_native = has_bfloat16(place)
    if precision == "auto":
        return "bfloat16" if is_native else "float32"
    if precision == "bfloat16" and not is_native and place.type in ("cpu", "cuda"):
        name = {"cpu": "processor", "cuda": "GPU"}[place.type]
        say(
            f"warning: this {name} has no bfloat16 arithmetic, and may take ten times as long as "
            "in float32; precision auto takes what is fast"
        )
    return precision
