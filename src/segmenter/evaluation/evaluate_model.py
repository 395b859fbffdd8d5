"""`segmenter evaluate`: evaluate a model on a data set, print and write the scores."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from segmenter.checkpoints.open import is_exported
from segmenter.classes import Classes, read_classes
from segmenter.data.folder import Item, LabelledFolder, find_classes, has_classes
from segmenter.data.published.open_data import open_data, split_name
from segmenter.data.training_split import training_items
from segmenter.errors import UserError
from segmenter.evaluation.boundaries import DEFAULT_RATIO
from segmenter.evaluation.evaluate import Evaluation, evaluate, fit_temperature
from segmenter.evaluation.extra_metrics import Statistics
from segmenter.evaluation.reports.evaluation_page import write_report
from segmenter.evaluation.reports.score_tables import print_scores, print_statistics
from segmenter.files.outputs import write_json
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import change_protocol, find_protocol
from segmenter.model import ModelSpec, Protocol
from segmenter.options import Compute, Data, ExtraMetrics, Labelling, Report, Views
from segmenter.pages import open_report
from segmenter.recipe import make_recipe
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime
from segmenter.terminal import progress_bar


def run_evaluation(
    model: str,
    data: str,
    *,
    which: Data,
    views: Views,
    labelling: Labelling,
    metrics: ExtraMetrics,
    compute: Compute,
    report: Report,
) -> Evaluation:
    """Evaluate a model on one split, print the scores, and write JSON and report if asked for.

    Raises:
        UserError: If model, data, protocol, device or outputs do not allow it.
    """
    page = open_report(report)
    ratio = metrics.boundary_ratio
    if ratio is not None and not 0 < ratio <= 1:
        raise UserError(
            f"--boundary-ratio is a share of an image's diagonal, above 0 and at most 1, such as "
            f"{DEFAULT_RATIO}; got {ratio}"
        )
    computing = open_model(model, compute)
    spec = computing.spec
    chosen = chosen_protocol(views, spec, flip=labelling.flip)
    folder = open_data(data, data_classes(data, which.classes, spec))
    name, items = scored_items(folder, which.split, spec)
    classes = folder.classes.with_image_bits(spec.classes.image_bits)
    predictor = Predictor(computing, protocol=chosen, label_rule=labelling.label_rule)
    counted = None
    if metrics.is_wanted:
        split = metrics.temperature_split
        fitted = None if split is None else other_items(folder, split, spec, items)
        counted = _extra_metrics(metrics, predictor, fitted, classes)
    with progress_bar("evaluating", len(items)) as advance:
        evaluation = evaluate(
            predictor, items, classes, on_image=lambda _: advance(), statistics=counted
        )
    context = {"model": model, "data": data, "split": name, **how_computed(predictor)}
    if report.json:
        write_json(report.json, evaluation.to_json(context), overwrite=report.overwrite)
    print_scores(evaluation)
    if evaluation.statistics:
        print_statistics(evaluation.statistics)
    if page:
        path = write_report(evaluation, predictor, items, classes, page, context)
        print(f"report: {path}")
    return evaluation


def _extra_metrics(
    metrics: ExtraMetrics,
    predictor: Predictor,
    fitted: Sequence[Item] | None,
    classes: Classes,
) -> Statistics:
    """Return the counters of further metrics, with a temperature fitted on `fitted`."""
    temperature = None
    if fitted is not None:
        with progress_bar("fitting temperature", len(fitted)) as advance:
            temperature = fit_temperature(predictor, fitted, classes, on_image=advance)
    ratio = metrics.boundary_ratio
    return Statistics(
        classes,
        boundary_ratio=DEFAULT_RATIO if ratio is None else ratio,
        temperature=temperature,
        fitted_on=metrics.temperature_split,
    )


def open_model(model: str, compute: Compute) -> Runtime:
    """Open a model in torch and float32, unless options say otherwise, for reproducible scores."""
    return open_runtime(model, compute.for_scores(is_exported=is_exported(Path(model))))


def chosen_protocol(views: Views, spec: ModelSpec, *, flip: bool | None = None) -> Protocol:
    """Return the protocol that options ask for.

    Raises:
        UserError: If it is unknown, or a value is impossible.
    """
    changes = views.changes() | ({} if flip is None else {"flip": flip})
    return change_protocol(find_protocol(views.protocol, spec), changes)


def how_computed(predictor: Predictor) -> dict[str, Any]:
    """Return what else decides the scores: protocol, label rule, runtime and versions."""
    computing = predictor.runtime
    return {
        "protocol": predictor.protocol.model_dump(mode="json"),
        "decode": predictor.label_rule,
        "merge_tokens": computing.merge_threshold,
        "runtime": computing.name,
        "precision": computing.precision,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            computing.name.removesuffix("-compile"): computing.version,
        },
    }


def data_classes(data: str, classes_file: Path | None, spec: ModelSpec) -> Classes | None:
    """Return the classes given, or the model's; None if the data set has its own."""
    if classes_file is not None:
        return read_classes(classes_file)
    if split_name(data) is not None:
        return None
    return None if has_classes(find_classes(Path(data))) else spec.classes


def scored_items(
    folder: LabelledFolder, split: str | None, spec: ModelSpec
) -> tuple[str, tuple[Item, ...]]:
    """Return the name of a split and its images.

    If `val` is asked for and the folder has none, these are the images that the training of the
    model held out.
    """
    if split is None and folder.scored not in folder.splits and len(folder.splits) == 1:
        split = next(iter(folder.splits))
    if split == "val" and "val" not in folder.splits and spec.recipe is not None:
        recipe = make_recipe(spec.recipe, "the recipe inside the model")
        return "val (held out)", training_items(recipe, folder)[1]
    return split or folder.scored, folder.items(split or folder.scored)


def other_items(
    folder: LabelledFolder, split: str, spec: ModelSpec, scored: Sequence[Item]
) -> tuple[Item, ...]:
    """Return the images of a split that must share none with the scored images.

    Raises:
        UserError: If they share one.
    """
    items = scored_items(folder, split, spec)[1]
    masks = {item.mask for item in scored}
    if any(item.mask in masks for item in items):
        raise UserError(
            f"--temperature-split {split} has images that are scored too; a temperature is judged "
            "on other images than it was fitted on: name another split"
        )
    return items
