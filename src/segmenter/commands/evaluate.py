"""`segmenter evaluate`: score a model on labelled photos."""

import json
import platform
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from segmenter.build import training_items
from segmenter.classes import Classes, read_classes
from segmenter.data.folder import CLASSES_FILE, Item, LabelledFolder
from segmenter.data.sets import open_data, split_name
from segmenter.evaluation.evaluate import Evaluation, evaluate
from segmenter.evaluation.report import PAGE_NAME, write_report
from segmenter.export.exported import is_exported
from segmenter.inference.predictor import Predictor, change_protocol, find_protocol
from segmenter.inference.runtimes import open_runtime
from segmenter.model import ModelSpec
from segmenter.outputs import OutputFolder, check_new, write_new
from segmenter.recipe import make_recipe


def run_evaluation(
    model: str,
    data: str,
    *,
    split: str | None,
    json_file: Path | None,
    report_folder: Path | None,
    classes_file: Path | None,
    protocol: str | None,
    protocol_changes: dict[str, Any],
    device: str,
    runtime: str | None,
    precision: str,
    overwrite: bool,
) -> Evaluation:
    """Score a model on one split, print the scores, write what was asked for.

    Raises:
        UserError: If model, data, protocol, device or outputs do not allow it.
    """
    report = OutputFolder(report_folder, overwrite=overwrite) if report_folder else None
    if report:
        report.check([PAGE_NAME])
    if json_file:
        check_new(json_file, overwrite=overwrite)
    default = "auto" if is_exported(Path(model)) else "torch"
    computing = open_runtime(model, runtime or default, precision, device)
    spec = computing.spec
    chosen = change_protocol(find_protocol(protocol, spec), protocol_changes)
    folder = open_data(data, data_classes(data, classes_file, spec))
    name, items = scored_items(folder, split, spec)
    predictor = Predictor(computing, protocol=chosen)
    console = Console(stderr=True)
    # Where there is no terminal, it would leave an empty line.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("evaluating", total=len(items))
        evaluation = evaluate(
            predictor, items, folder.classes, on_image=lambda _: progress.advance(bar)
        )
    context = {
        "model": model,
        "data": data,
        "split": name,
        "protocol": chosen.model_dump(mode="json"),
        "runtime": computing.name,
        "precision": computing.precision,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            computing.name.removesuffix("-compile"): computing.version,
        },
    }
    if json_file:
        text = json.dumps(evaluation.to_json(context), indent=1)
        write_new(json_file, text.encode(), overwrite=overwrite)
    print_scores(evaluation)
    if report:
        path = write_report(evaluation, predictor, items, folder.classes, report, context)
        print(f"report: {path}")
    return evaluation


def data_classes(data: str, classes_file: Path | None, spec: ModelSpec) -> Classes | None:
    """The classes given, or those of the data (none: it has them itself), or the model's."""
    if classes_file is not None:
        return read_classes(classes_file)
    if split_name(data) is not None:
        return None
    path = Path(data)
    folder = path if path.is_dir() else path.parent
    return None if (folder / CLASSES_FILE).is_file() else spec.classes


def scored_items(
    folder: LabelledFolder, split: str | None, spec: ModelSpec
) -> tuple[str, tuple[Item, ...]]:
    """The photos to score on, and what to call them.

    Where `val` is asked for and the folder has none, these are the photos that the model's own
    training held out.
    """
    if split is None and folder.scored not in folder.splits and len(folder.splits) == 1:
        split = next(iter(folder.splits))
    if split == "val" and "val" not in folder.splits and spec.recipe is not None:
        recipe = make_recipe(spec.recipe, "the recipe inside the model")
        return "val (held out)", training_items(recipe, folder)[1]
    return split or folder.scored, folder.items(split or folder.scored)


def print_scores(evaluation: Evaluation) -> None:
    """Show the scores of each class and over all, as tables."""
    scores = evaluation.scores
    table = Table("class", "IoU", "Dice", "precision", "recall", title="per class, in per cent")
    for row in scores.classes:
        table.add_row(
            escape(row.name), *map(_percent, (row.iou, row.dice, row.precision, row.recall))
        )
    console = Console()
    console.print(table)
    kappa = "-" if scores.kappa is None else f"{scores.kappa:.4f}"
    for sentence in (
        f"mIoU {_percent(scores.miou)}  mean accuracy {_percent(scores.mean_accuracy)}  "
        f"pixel accuracy {_percent(scores.pixel_accuracy)}  kappa {kappa}",
        scores.background and f"mIoU and mean accuracy are without {scores.background}",
        scores.absent and f"neither in truth nor predicted, left out: {', '.join(scores.absent)}",
        scores.predicted_only
        and f"predicted but not in truth, counted as 0: {', '.join(scores.predicted_only)}",
    ):
        if sentence:
            console.print(sentence, highlight=False, markup=False)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
