"""`segmenter evaluate`: score a model on labelled images."""

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
from segmenter.inference.metric_decoding import Decode
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import change_protocol, find_protocol
from segmenter.model import ModelSpec
from segmenter.pages import open_report
from segmenter.recipe import make_recipe
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime
from segmenter.terminal import progress_bar


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
    statistics: bool = False,
    boundary_ratio: float | None = None,
    temperature_split: str | None = None,
    decode: Decode = "argmax",
    merge_tokens: float | None = None,
) -> Evaluation:
    """Score a model on one split, print the scores, write what was asked for.

    Raises:
        UserError: If model, data, protocol, device or outputs do not allow it.
    """
    report = open_report(report_folder, json_file, overwrite=overwrite)
    if boundary_ratio is not None and not 0 < boundary_ratio <= 1:
        raise UserError(
            f"--boundary-ratio is a share of an image's diagonal, above 0 and at most 1, such as "
            f"{DEFAULT_RATIO}; got {boundary_ratio}"
        )
    computing = open_model(model, runtime, precision, device, merge_tokens)
    spec = computing.spec
    chosen = change_protocol(find_protocol(protocol, spec), protocol_changes)
    folder = open_data(data, data_classes(data, classes_file, spec))
    name, items = scored_items(folder, split, spec)
    classes = folder.classes.with_image_bits(spec.classes.image_bits)
    predictor = Predictor(computing, protocol=chosen, decode=decode)
    counted = None
    if statistics or boundary_ratio is not None or temperature_split is not None:
        temperature = None
        if temperature_split is not None:
            fitted = other_items(folder, temperature_split, spec, items)
            with progress_bar("fitting temperature", len(fitted)) as advance:
                temperature = fit_temperature(predictor, fitted, classes, on_image=advance)
        counted = Statistics(
            classes,
            boundary_ratio=DEFAULT_RATIO if boundary_ratio is None else boundary_ratio,
            temperature=temperature,
            fitted_on=temperature_split,
        )
    with progress_bar("evaluating", len(items)) as advance:
        evaluation = evaluate(
            predictor, items, classes, on_image=lambda _: advance(), statistics=counted
        )
    context = {
        "model": model,
        "data": data,
        "split": name,
        **how_computed(predictor),
    }
    if json_file:
        write_json(json_file, evaluation.to_json(context), overwrite=overwrite)
    print_scores(evaluation)
    if evaluation.statistics:
        print_statistics(evaluation.statistics)
    if report:
        path = write_report(evaluation, predictor, items, classes, report, context)
        print(f"report: {path}")
    return evaluation


def open_model(
    model: str,
    runtime: str | None,
    precision: str,
    device: str,
    merge_tokens: float | None = None,
) -> Runtime:
    """A model, in torch where no runtime is named and the file does not decide."""
    default = "auto" if is_exported(Path(model)) else "torch"
    return open_runtime(model, runtime or default, precision, device, merge_tokens)


def how_computed(predictor: Predictor) -> dict[str, Any]:
    """What else decides the scores of a model: protocol, decoding, runtime and versions."""
    computing = predictor.runtime
    return {
        "protocol": predictor.protocol.model_dump(mode="json"),
        "decode": predictor.decode,
        "merge_tokens": computing.merge_tokens,
        "runtime": computing.name,
        "precision": computing.precision,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            computing.name.removesuffix("-compile"): computing.version,
        },
    }


def data_classes(data: str, classes_file: Path | None, spec: ModelSpec) -> Classes | None:
    """The classes given, or those of the data (none: it has them itself), or the model's."""
    if classes_file is not None:
        return read_classes(classes_file)
    if split_name(data) is not None:
        return None
    return None if has_classes(find_classes(Path(data))) else spec.classes


def scored_items(
    folder: LabelledFolder, split: str | None, spec: ModelSpec
) -> tuple[str, tuple[Item, ...]]:
    """The images to score on, and what to call them.

    Where `val` is asked for and the folder has none, these are the images that the model's own
    training held out.
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
    """The images of a split that must share none with those that are scored.

    Raises:
        UserError: If they do.
    """
    items = scored_items(folder, split, spec)[1]
    masks = {item.mask for item in scored}
    if any(item.mask in masks for item in items):
        raise UserError(
            f"--temperature-split {split} has images that are scored too; a temperature is judged "
            "on other images than it was fitted on: name another split"
        )
    return items
