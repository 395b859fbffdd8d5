"""The lines at the end of a run: the scores of its best model, and the commands to use it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from segmenter.checkpoints.model_file import read_spec
from segmenter.data.published.open_data import split_name
from segmenter.errors import UserError
from segmenter.terminal import command_line, escape
from segmenter.text import percent
from segmenter.training.log.files import read_log
from segmenter.training.log.lines import log_to
from segmenter.training.prepare import Run

_COLUMNS = ("iou", "dice", "precision", "recall", "share")


def show_ending(run: Run, console: Console) -> None:
    """Show the scores of the best model by class, its path, and the commands to use it."""
    log = log_to(console)
    best, last = run.folder / "best.safetensors", run.folder / "last.safetensors"
    scores = _scores(best) if run.validation else None
    if scores is None:
        log(f"no split was evaluated; the model after the last step is {last}")
    else:
        num_images = len(run.survey.val)
        images = f"{num_images} image{'s' * (num_images != 1)}"
        split = f"{run.recipe.data.val} ({images}{'' if _has_val(run) else ' held out'})"
        if classes := scores.get("classes"):
            console.print(_table(classes, f"{best.name} on {split}, in per cent"))
        step = _best_step(run.folder)
        after = "" if step is None else f" after step {step}"
        log(
            f"mIoU {percent(scores.get('miou'))}, pixel accuracy "
            f"{percent(scores.get('pixel_accuracy'))}: the best model, {best}{after}; the last one "
            f"is {last.name} beside it"
        )
    model = last if scores is None else best
    log(f"evaluate: {command_line('evaluate', model, *_labelled_images(run))}")
    image = (*run.survey.val, *run.survey.train)[0].image
    log(f"predict:  {command_line('predict', image, '--model', model)}")


def _scores(path: Path) -> dict[str, Any] | None:
    """Return the scores that a model of this run carries; None without such a model."""
    try:
        return read_spec(path).scores.get("val")
    except UserError:
        return None


def _table(classes: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    heads = ("IoU", "Dice", "precision", "recall", "share of pixels")
    table = Table(Column("class", overflow="fold"), *heads, title=escape(title))
    for name, scores in classes.items():  # an older run may lack one of them
        table.add_row(escape(name), *(percent(scores.get(column)) for column in _COLUMNS))
    return table


def _best_step(folder: Path) -> int | None:
    """Return the first step with the highest score in the log; None where it has none."""
    try:
        lines = read_log(folder / "log.jsonl")
    except OSError:
        return None
    scored = [line for line in lines if line.get("val/miou") is not None]
    best = max(scored, key=lambda line: line["val/miou"] or 0.0, default=None)
    return None if best is None else int(best["step"] or 0)


def _has_val(run: Run) -> bool:
    """Return whether the split of the scores is one of the data set's, and not held out."""
    return run.recipe.data.val in run.survey.split_sizes


def _labelled_images(run: Run) -> list[str]:
    """Return the arguments that name labelled images which the run has not trained on."""
    data = run.recipe.data
    others = [name for name in run.survey.split_sizes if name not in {*data.train, data.val, "all"}]
    if "test" in others and split_name(data.root) is None:  # published ones have no test labels
        return [data.root, "--split", "test", *data.pairs.pattern_flags()]
    has_val = bool(run.survey.val) or _has_val(run)  # of one image, none is held out
    split = data.val if has_val else (others[0] if others else None)
    return [data.root, *(("--split", split) if split else ()), *data.pairs.pattern_flags()]
