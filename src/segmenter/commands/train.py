"""`segmenter train`: check the data, build the run, train."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from segmenter.build import (
    build_loss,
    build_model,
    build_score,
    build_stream,
    run_identity,
    training_items,
)
from segmenter.checking.findings import group, one_line
from segmenter.checking.statistics import missing_classes
from segmenter.commands.drafting import ask_for_classes
from segmenter.data.problems import Severity
from segmenter.data.sets import open_data, split_name
from segmenter.data.survey import survey
from segmenter.errors import UserError
from segmenter.inference.predictor import usable_device
from segmenter.outputs import write_new
from segmenter.recipe import Recipe
from segmenter.training.loop import Run, train


def run_training(
    recipe: Recipe,
    out: Path | None,
    device: str,
    *,
    resume: bool,
    allow_config_change: bool = False,
) -> Path:
    """Check the data, build the run, train; returns the last model's file.

    Raises:
        UserError: If data, recipe, weights, device or folder do not allow the run.
        Stopped: If a signal ended it, after everything was saved.
    """
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    if allow_config_change and not resume:
        raise UserError("--allow-config-change is for a run that goes on; add --resume")
    place = usable_device(device)
    folder = out or Path("runs") / recipe.name
    _check_run_folder(folder, resume=resume)
    root = recipe.data.root
    if split_name(root) is None:
        ask_for_classes(Path(root))
    data = open_data(root)
    train_items, val_items = training_items(recipe, data)
    found = survey(train_items + val_items, data.classes, recipe.workers)
    pixel_counts = found.pixel_counts[: len(train_items)]
    absent = missing_classes(pixel_counts.sum(axis=0), data.classes, "the training photos")
    for finding in group((*found.problems, *absent)):
        if finding.severity is not Severity.NOTE:
            say(f"{finding.severity}: {one_line(finding)}")
    model = build_model(recipe, data.classes, say).to(place)
    say(f"# the recipe of this run\n{recipe.to_yaml()}")
    say(f"{root}: {len(train_items)} photos to train on, {len(val_items)} to score on")
    run = Run(
        recipe=recipe,
        model=model,
        stream=build_stream(recipe, model, train_items, pixel_counts),
        loss=build_loss(recipe, data.classes, pixel_counts),
        score=build_score(val_items, recipe) if val_items else None,
        folder=folder,
        identity=run_identity(recipe, data.classes, train_items),
    )
    with _own_folder(folder):
        if not resume:
            write_new(folder / "recipe.yaml", recipe.to_yaml().encode(), overwrite=False)
        train(run, console, resume=resume, allow_config_change=allow_config_change)
    return folder / "last.safetensors"


def _check_run_folder(folder: Path, *, resume: bool) -> None:
    """A run never mixes with another, or with other files: it has a folder of its own."""
    in_the_way = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if in_the_way:
        raise UserError(f"{in_the_way} is a file; give another folder with --out")
    has_run = (folder / "recipe.yaml").is_file()
    if resume and not has_run:
        raise UserError(f"nothing to resume in {folder}: there is no run; start without --resume")
    if not resume and has_run:
        raise UserError(f"{folder} holds a run; go on with --resume, or give another --out")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds files; a run needs a new folder: give another --out")


@contextlib.contextmanager
def _own_folder(folder: Path) -> Iterator[None]:
    """Make the run's folder, and keep other processes from writing into it meanwhile."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder} is in use by another process; wait for it, or give another --out"
            ) from None
        yield
