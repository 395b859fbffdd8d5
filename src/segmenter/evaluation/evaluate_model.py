"""`segmenter evaluate`: evaluate a model on a data set, and write the scores."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy import ndarray

from segmenter.checkpoints.license import terms_note
from segmenter.checkpoints.open import is_exported, resolve
from segmenter.classes import Classes, read_classes
from segmenter.data.folder import Item, LabelledFolder, find_classes, has_classes
from segmenter.data.masks.lossy import lossy_warning
from segmenter.data.published.open_data import open_data, split_name
from segmenter.data.sample import Sample
from segmenter.data.trained_on import trained_on_warning
from segmenter.data.training_split import training_items
from segmenter.drawing import recolored
from segmenter.errors import UserError
from segmenter.evaluation.boundaries import DEFAULT_RATIO
from segmenter.evaluation.evaluate import Evaluation, evaluate, fit_temperature
from segmenter.evaluation.extra_metrics import Statistics
from segmenter.evaluation.reports.evaluation_page import write_report
from segmenter.evaluation.saved_maps import (
    SavedMaps,
    check_without_model,
    evaluate_maps,
    is_folder_of_maps,
)
from segmenter.files.outputs import OutputFolder, write_json
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import change_protocol, find_protocol, scoring_protocol
from segmenter.model import EvaluationProtocol, ModelSpec
from segmenter.options import (
    Compute,
    Data,
    ExtraMetrics,
    Labelling,
    Orientations,
    Pairs,
    Report,
    ScoredData,
    Views,
)
from segmenter.pages import open_report
from segmenter.recipe import make_recipe
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime
from segmenter.runtimes.table import automatic_runtime
from segmenter.spelling import spelled
from segmenter.terminal import progress_bar, show, timed_progress
from segmenter.text import visible


def evaluate_model(
    model: str,
    data: str,
    *,
    which: ScoredData,
    views: Views,
    labelling: Labelling,
    metrics: ExtraMetrics,
    compute: Compute,
    report: Report,
) -> tuple[Evaluation, Path | None]:
    """Evaluate a model on one split, and write JSON and report if asked for.

    Where `model` is a folder, its label maps are scored.

    Returns:
        The scores, and the page of the report.

    Raises:
        UserError: If model, data, protocol, device or outputs do not allow it.
    """
    page = open_report(report)
    _check_ratio(metrics.boundary_ratio)
    if is_folder_of_maps(model):
        check_without_model(model, views, labelling, metrics, compute)
        protocol = scoring_protocol(views.protocol)
        return _evaluate_maps(
            *(model, data, protocol), which=which, metrics=metrics, report=report, page=page
        )
    if which.ids is not None:
        raise UserError(f"--ids is for a folder of label maps, and {model} is a model; omit it")
    predictor = _open_predictor(model, views, labelling, compute)
    spec = predictor.spec
    folder = open_scored(data, which, spec)
    name, items = scored_items(folder, which.split, spec)
    classes = folder.classes.with_image_bits(spec.classes.image_bits).with_image(spec.image)
    counted = None
    if metrics.is_wanted:
        split = metrics.temperature_split
        fitted = None if split is None else other_items(folder, split, spec, items)
        counted = _extra_metrics(metrics, predictor, fitted, classes)
    warn_of_training_images(model, items)
    warn_of_lossy_masks(items)
    what = f"evaluating {len(items)} images"
    with timed_progress(what, len(items), hint=_faster(predictor, compute)) as advance:
        evaluation = evaluate(
            predictor, items, classes, on_image=lambda _: advance(), statistics=counted
        )
    context = {"model": model, "data": data, "split": name, **how_computed(predictor)}
    _write_json(evaluation, context, report)

    def label(_: Item, sample: Sample) -> ndarray:
        return predictor(sample.image)

    drawn = recolored(classes, report.palette)
    path = write_report(evaluation, label, items, drawn, page, context) if page else None
    return evaluation, path


def _check_ratio(ratio: float | None) -> None:
    if ratio is not None and not 0 < ratio <= 1:
        raise UserError(
            f"--boundary-ratio is a share of an image's diagonal, above 0 and at most 1, such as "
            f"{DEFAULT_RATIO}; got {ratio}"
        )


def _open_predictor(model: str, views: Views, labelling: Labelling, compute: Compute) -> Predictor:
    """Open a model to evaluate it; print its device and the terms of its licence."""
    runtime = open_model(model, compute)
    print(spelled(runtime.describe_device()))
    if note := terms_note(model, runtime.spec.license):
        print(note)
    return Predictor(
        runtime,
        protocol=chosen_protocol(views, runtime.spec, labelling),
        label_rule=labelling.label_rule,
        threshold=labelling.threshold,
    )


def _evaluate_maps(
    maps: str,
    data: str,
    protocol: EvaluationProtocol,
    *,
    which: ScoredData,
    metrics: ExtraMetrics,
    report: Report,
    page: OutputFolder | None,
) -> tuple[Evaluation, Path | None]:
    """Score a folder of label maps on one split, as `evaluate_model` does a model."""
    ids = which.ids or "index"
    folder = open_scored(data, which)
    name, items = scored_items(folder, which.split)
    warn_of_lossy_masks(items)
    classes = folder.classes
    saved = SavedMaps(Path(maps), items, classes, ids)
    counted = None
    if metrics.is_wanted:
        ratio = metrics.boundary_ratio or DEFAULT_RATIO
        counted = Statistics(classes, boundary_ratio=ratio, has_probabilities=False)
    with timed_progress(f"evaluating {len(items)} label maps", len(items)) as advance:
        evaluation = evaluate_maps(
            *(saved, items, classes),
            protocol=protocol,
            on_image=lambda _: advance(),
            statistics=counted,
        )
    absent = protocol.absent_classes
    context = {"maps": maps, "ids": ids, "data": data, "split": name, "absent_classes": absent}
    _write_json(evaluation, context, report)

    def label(item: Item, sample: Sample) -> ndarray:
        return saved.read(item, sample.labels)

    drawn = recolored(classes, report.palette)
    path = write_report(evaluation, label, items, drawn, page, context) if page else None
    return evaluation, path


def _write_json(evaluation: Evaluation, context: dict[str, Any], report: Report) -> None:
    if report.json:
        write_json(report.json, evaluation.to_json(context), overwrite=report.overwrite)


def warn_of_training_images(model: str, items: Sequence[Item]) -> None:
    """Warn if a model was trained on some of these images; a list beside it says so."""
    images = [item.image for item in items]
    if warning := trained_on_warning(model, resolve(model), images):
        show(warning)


def warn_of_lossy_masks(items: Sequence[Item]) -> None:
    """Warn if true labels are read from files whose compression changes values."""
    if warning := lossy_warning(item.mask for item in items):
        show(warning)


def _faster(predictor: Predictor, compute: Compute) -> str:
    """Return which installed runtime is faster than torch; empty where one was chosen."""
    row = automatic_runtime(predictor.device.type)
    if compute.runtime or compute.merge_threshold is not None or row.name == predictor.runtime.name:
        return ""
    return f"--runtime {row.name} is faster; labels may differ where two classes are nearly equal"


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


def chosen_protocol(
    views: Views,
    spec: ModelSpec,
    orientations: Orientations = Orientations(),  # noqa: B008 - frozen
) -> EvaluationProtocol:
    """Return the protocol that options ask for.

    Raises:
        UserError: If it is unknown, or a value is impossible.
    """
    if views.whole and views.window:
        raise UserError(f"--whole and --window {views.window} contradict; give one of them")
    changes = views.changes() | orientations.orientations()
    return change_protocol(find_protocol(views.protocol, spec), changes)


def how_computed(predictor: Predictor) -> dict[str, Any]:
    """Return the licence of the model, and all else that decides the scores."""
    computing = predictor.runtime
    return {
        "license": predictor.spec.license or None,
        "protocol": predictor.protocol.model_dump(mode="json"),
        "decode": predictor.label_rule,
        **({} if predictor.threshold is None else {"threshold": predictor.threshold}),
        "merge_tokens": computing.merge_threshold,
        "runtime": computing.name,
        "precision": computing.precision,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            computing.name.removesuffix("-compile"): computing.version,
        },
    }


def open_scored(data: str, which: Data, spec: ModelSpec | None = None) -> LabelledFolder:
    """Open the data set to score on, and say how its images and masks were paired.

    Where no patterns are given, those that the model was trained with are used if they fit: what a
    training held out is chosen by the names that its pairing gave.

    Args:
        data: As the user named it.
        which: Its patterns and classes.
        spec: Spec of the model; None for label maps.

    Raises:
        UserError: If the data set cannot be used.
    """
    given = which.classes and read_classes(which.classes)
    classes = given if spec is None else data_classes(data, which.classes, spec)
    folder = _by_trained_patterns(data, which, classes, spec)
    folder = folder or open_data(data, classes, pairs=which)
    if folder.pairing_note:
        print(visible(spelled(folder.pairing_note)))
    return folder


def _by_trained_patterns(
    data: str, which: Data, classes: Classes | None, spec: ModelSpec | None
) -> LabelledFolder | None:
    """Open a data set by the patterns in the recipe of a model; None where they do not fit."""
    section = ((spec and spec.recipe) or {}).get("data", {})
    own = Pairs(images=section.get("images"), masks=section.get("masks"))
    if which.pattern_flags() or own.images is None or own.masks is None or split_name(data):
        return None
    if any(_is_outside(pattern) for pattern in (own.images, own.masks)):
        return None  # they lead to the data of the training, whatever is given
    try:
        folder = open_data(data, classes, pairs=own)
    except UserError:
        return None
    if which.split not in {None, "val", *folder.splits}:
        return None
    note = f"images and masks paired as in the training: {' '.join(own.pattern_flags())}"
    return replace(folder, pairing_note=note if which.pairing_note else "")


def _is_outside(pattern: str) -> bool:
    """Return whether a pattern leads out of the folder of the data set."""
    path = Path(pattern.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def data_classes(data: str, classes_file: Path | None, spec: ModelSpec) -> Classes | None:
    """Return the classes given, or the model's; None if the data set has its own."""
    if classes_file is not None:
        return read_classes(classes_file)
    if split_name(data) is not None:
        return None
    return None if has_classes(find_classes(Path(data))) else spec.classes


def scored_items(
    folder: LabelledFolder, split: str | None, spec: ModelSpec | None = None
) -> tuple[str, tuple[Item, ...]]:
    """Return the name of a split and its images.

    If `val` is asked for and the folder has none, these are the images that the training of the
    model held out.
    """
    if split is None and folder.scored not in folder.splits and len(folder.splits) == 1:
        split = next(iter(folder.splits))
    if split == "val" and "val" not in folder.splits and spec and spec.recipe is not None:
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
