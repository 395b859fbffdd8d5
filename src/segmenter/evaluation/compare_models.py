"""`segmenter compare`: two models, or label maps that were saved, on the same images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from numpy import ndarray
from rich.console import Console
from rich.table import Table

from segmenter.checkpoints.license import terms_note
from segmenter.classes import Classes
from segmenter.data.folder import Item, LabelledFolder, read_sample
from segmenter.data.sample import Sample
from segmenter.drawing import recolored
from segmenter.errors import UserError
from segmenter.evaluation.bootstrap import MEANS
from segmenter.evaluation.comparison import Comparison, difference
from segmenter.evaluation.evaluate import Evaluation, ImageScore, evaluate, read_like
from segmenter.evaluation.evaluate_model import (
    chosen_protocol,
    how_computed,
    open_model,
    open_scored,
    scored_items,
    warn_of_lossy_masks,
    warn_of_training_images,
)
from segmenter.evaluation.reports.comparison_page import write_comparison
from segmenter.evaluation.reports.score_tables import print_lines
from segmenter.evaluation.saved_maps import (
    SavedMaps,
    check_without_model,
    evaluate_maps,
    is_folder_of_maps,
)
from segmenter.files.outputs import write_json
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import scoring_protocol
from segmenter.model import EvaluationProtocol
from segmenter.options import (
    Compute,
    ExtraMetrics,
    Labelling,
    LabelRule,
    Report,
    ScoredData,
    Views,
)
from segmenter.pages import open_report
from segmenter.terminal import escape, timed_progress
from segmenter.text import percent, span

OnImage = Callable[[ImageScore], None]
_NUM_NAMED = 5
"""Images that are named in the terminal."""


class Side(NamedTuple):
    """One of the two models, or a folder of label maps."""

    model: str
    label_rule: LabelRule = "argmax"
    merge_threshold: float | None = None
    """The cosine above which its tokens are merged; None: none are."""
    threshold: float | None = None
    """Probability from which a model of one class labels a pixel with it; None: 0.5."""


def run_comparison(
    a: Side,
    b: Side,
    data: str,
    *,
    which: ScoredData,
    views: Views,
    compute: Compute,
    report: Report,
) -> Comparison:
    """Evaluate two models on one split, print how they differ, write what was asked for.

    A folder of label maps may stand for a model.

    Raises:
        UserError: If models, data, protocol, device or outputs do not allow it.
    """
    page = open_report(report)
    sides = (a, b)
    _check_maps(sides, which, views, compute)
    predictors = [None if _is_maps(side) else _open(side, views, compute) for side in sides]
    models = [predictor for predictor in predictors if predictor is not None]
    spec = models[0].spec if models else None
    _say(sides, predictors)
    folder = open_scored(data, which, spec)
    classes = folder.classes
    name, items = scored_items(folder, which.split, spec)
    _check_held_out(sides, models, folder, which, items)
    for side, predictor in zip(sides, predictors, strict=True):
        if predictor is not None:
            warn_of_training_images(side.model, items)
    warn_of_lossy_masks(items)
    protocol = models[0].protocol if models else scoring_protocol(views.protocol)
    one, two = (
        _OfModel(predictor, classes)
        if predictor is not None
        else _OfMaps(SavedMaps(Path(side.model), items, classes, which.ids or "index"), protocol)
        for side, predictor in zip(sides, predictors, strict=True)
    )
    comparison = _compare_on(one, two, items, classes)
    context = {
        "a": a.model,
        "b": b.model,
        "data": data,
        "split": name,
        "how_a": one.how,
        "how_b": two.how,
    }
    if report.json:
        write_json(report.json, comparison.to_json(context), overwrite=report.overwrite)
    print_comparison(comparison)
    if page:
        seen = read_like(models[0], classes) if models else classes
        drawn = recolored(seen, report.palette)
        labels = (one.labels, two.labels)
        path = write_comparison(comparison, labels, items, drawn, page, context)
        print(f"report: {path}")
    return comparison


def _check_held_out(
    sides: tuple[Side, Side],
    models: Sequence[Predictor],
    folder: LabelledFolder,
    which: ScoredData,
    items: Sequence[Item],
) -> None:
    """Raise an error if a model held out other images than the first."""
    if any(scored_items(folder, which.split, each.spec)[1] != items for each in models):
        raise UserError(
            f"{sides[0].model} and {sides[1].model} held out different images for val; compare "
            "them on images that neither was trained on: name another split, or give a list of "
            "images as data"
        )


def _compare_on(
    one: "_OfModel | _OfMaps", two: "_OfModel | _OfMaps", items: Sequence[Item], classes: Classes
) -> Comparison:
    """Evaluate both sides on the same images, and show progress."""
    with timed_progress(f"comparing on {len(items)} images", 2 * len(items)) as advance:
        return Comparison(
            one.evaluate(items, classes, lambda _: advance()),
            two.evaluate(items, classes, lambda _: advance()),
        )


class _OfModel:
    """Labels that a model predicts of images, read as it reads them."""

    def __init__(self, predictor: Predictor, classes: Classes) -> None:
        self._predictor = predictor
        self._classes = read_like(predictor, classes)
        self.how = how_computed(predictor)

    def evaluate(self, items: Sequence[Item], classes: Classes, on_image: OnImage) -> Evaluation:
        return evaluate(self._predictor, items, classes, on_image=on_image)

    def labels(self, item: Item, _: Sample) -> ndarray:
        return self._predictor(read_sample(item, self._classes).image)


class _OfMaps:
    """Labels that were saved; `protocol` says how classes count that are nowhere."""

    def __init__(self, maps: SavedMaps, protocol: EvaluationProtocol) -> None:
        self._maps = maps
        self._protocol = protocol
        self.how = {"ids": maps.ids, "absent_classes": protocol.absent_classes}

    def evaluate(self, items: Sequence[Item], classes: Classes, on_image: OnImage) -> Evaluation:
        return evaluate_maps(self._maps, items, classes, protocol=self._protocol, on_image=on_image)

    def labels(self, item: Item, sample: Sample) -> ndarray:
        return self._maps.read(item, sample.labels)


def _is_maps(side: Side) -> bool:
    return is_folder_of_maps(side.model)


def _check_maps(
    sides: tuple[Side, Side], which: ScoredData, views: Views, compute: Compute
) -> None:
    """Refuse options that say how a model predicts where label maps are given, and the reverse."""
    are_maps = [_is_maps(side) for side in sides]
    if which.ids is not None and not any(are_maps):
        raise UserError("--ids is for a folder of label maps, and two models are given")
    if all(are_maps):
        check_without_model(sides[0].model, views, Labelling(), ExtraMetrics(), compute)
    for side, is_maps in zip(sides, are_maps, strict=True):
        if is_maps:
            labelling = Labelling(label_rule=side.label_rule, threshold=side.threshold)
            merging = Compute(merge_threshold=side.merge_threshold)
            check_without_model(side.model, Views(), labelling, ExtraMetrics(), merging)


def _open(side: Side, views: Views, compute: Compute) -> Predictor:
    opened = open_model(side.model, replace(compute, merge_threshold=side.merge_threshold))
    return Predictor(
        opened,
        protocol=chosen_protocol(views, opened.spec),
        label_rule=side.label_rule,
        threshold=side.threshold,
    )


def _say(sides: Sequence[Side], predictors: Sequence[Predictor | None]) -> None:
    """Print the device, and the terms of each model."""
    pairs = zip(sides, predictors, strict=True)
    models = [(side, predictor) for side, predictor in pairs if predictor is not None]
    lines = [predictor.runtime.describe_device() for _, predictor in models[:1]]
    lines += [terms_note(side.model, each.spec.license) or "" for side, each in models]
    for line in dict.fromkeys(filter(None, lines)):
        print(line)


def print_comparison(comparison: Comparison) -> None:
    """Show the differences of each class and over all."""
    found = comparison.intervals
    table = Table("", "A", "B", "B - A", "interval", title="in per cent; classes: IoU")
    for name, (one, two) in comparison.means.items():
        interval = span(found.means[name], sign="+") if found else "-"
        shown = (percent(one), percent(two), percent(difference(one, two), sign="+"), interval)
        table.add_row(MEANS[name], *shown)
    table.add_section()
    pairs = zip(comparison.a.scores.classes, comparison.b.scores.classes, strict=True)
    for index, (one, two) in enumerate(pairs):
        interval = span(found.ious[index], sign="+") if found else "-"
        change = percent(difference(one.iou, two.iou), sign="+")
        table.add_row(escape(one.name), percent(one.iou), percent(two.iou), change, interval)
    Console().print(table)
    wins = comparison.wins
    largest = [
        f"{image.name} {percent(image.difference, sign='+')}"
        for image in comparison.images[:_NUM_NAMED]
        if image.difference
    ]
    print_lines(
        comparison.verdict,
        f"images: B better on {wins['wins']}, the same on {wins['ties']}, worse on "
        f"{wins['losses']}",
        largest and f"they differ most on {', '.join(largest)}",
    )
