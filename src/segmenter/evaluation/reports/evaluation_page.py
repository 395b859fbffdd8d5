"""One page to look at: the scores, what is taken for what, the worst and the best images."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import Item, read_sample
from segmenter.data.sample import Sample
from segmenter.evaluation.bootstrap import LEVEL, NUM_RESAMPLES
from segmenter.evaluation.evaluate import Evaluation, ImageScore
from segmenter.evaluation.metrics import ConfusionMatrix, scores
from segmenter.evaluation.pictures import UNLABELLED_COLOR, WRONG_COLOR, draw_pictures
from segmenter.files.outputs import OutputFolder
from segmenter.pages import PAGE_NAME, data_uri, label_map_uri, render_page, shown_names
from segmenter.pages.axes import round_steps
from segmenter.text import LEAST_SHOWN_SHARE

Label = Callable[[Item, Sample], ndarray]

_NUM_SHOWN = 8
"""Number of the worst images, and of the best."""
_MAX_SIDE = 640  # of a picture in the page, in pixels: 64 of them stay well under 15 MB
_NUM_MISTAKES = 10
_MAX_NUMBERED = 20  # with more classes the cells of the matrix are too small for numbers
_CELL_SIDES = {6: 64, 12: 46, _MAX_NUMBERED: 38}  # up to this number of classes: side in pixels
_SMALL_CELL = 13


class _Cell(NamedTuple):
    """One cell of the confusion matrix that is not empty."""

    column: str
    """The predicted class."""
    share: float
    """Share of the true class's pixels, 0 to 1."""
    strength: float
    """Strength of its colour, 0 to 1."""
    is_right: bool


class _Mistake(NamedTuple):
    """Pixels of one class that were taken for another."""

    true: str
    predicted: str
    share: float
    """Share of all counted pixels, 0 to 1."""
    share_of_class: float
    """Share of the pixels of the true class, 0 to 1."""


class _Image(NamedTuple):
    """One image as it is shown."""

    score: ImageScore
    pictures: list[tuple[str, str, str]]
    """Caption, data URI, and label map that names the classes; empty if it shows none."""
    size: tuple[int, int]
    """Height and width of the pictures, in pixels."""
    classes: list[tuple[str, tuple[int, int, int], float | None]]
    """Name, colour and IoU in this image of the classes that occur, the largest first."""


def write_report(
    evaluation: Evaluation,
    label: Label,
    items: Sequence[Item],
    classes: Classes,
    folder: OutputFolder,
    context: Mapping[str, Any],
) -> Path:
    """Write one page that holds everything, pictures too, so that it can be mailed.

    The images it shows are read and labelled once more.

    Args:
        evaluation: What was found.
        label: Gives the labels that were evaluated, for an item and its sample.
        items: What it was found on, in the same order.
        classes: Classes of the data.
        folder: Gets the page.
        context: Model, data, split, protocol, versions and the like, shown as they are.

    Returns:
        The path of the page.

    Raises:
        UserError: If an image cannot be read any more, or the page not be written.
    """
    worst, best = _extremes(evaluation.images, _NUM_SHOWN)
    statistics = evaluation.statistics
    risk_curve = statistics.risk_coverage.curve() if statistics else []
    counts = evaluation.matrix.counts
    page = render_page(
        "segmenter.evaluation.reports",
        "evaluation.html.jinja",
        evaluation=evaluation,
        level=LEVEL,
        num_resamples=NUM_RESAMPLES,
        scores=evaluation.scores,
        colors={info.name: info.color for info in classes.by_index},
        statistics=statistics and statistics.to_json(),
        risk_curve=risk_curve,
        hundred=round_steps(0, 100, 5),
        risk_ticks=round_steps(0, 100 * max((risk for _, risk in risk_curve), default=0) or 1),
        context=context,
        class_names=shown_names(classes.names),
        lead=_lead(context),
        rows=_cells(counts, classes.names),
        cell_side=next((s for n, s in _CELL_SIDES.items() if len(classes) <= n), _SMALL_CELL),
        has_numbers=len(classes) <= _MAX_NUMBERED,
        mistakes=_mistakes(counts, classes.names),
        worst=[_image(evaluation.images[i], label, items[i], classes) for i in worst],
        best=[_image(evaluation.images[i], label, items[i], classes) for i in best],
        wrong_color=WRONG_COLOR,
        unlabelled_color=UNLABELLED_COLOR,
    )
    return folder.write(PAGE_NAME, page)


def _extremes(images: Sequence[ImageScore], count: int) -> tuple[list[int], list[int]]:
    """Return the indices of the worst and of the best images, extremes first; none is in both."""
    miou = {index: image.miou for index, image in enumerate(images) if image.miou is not None}
    ranked = sorted(miou, key=lambda index: miou[index])
    num_worst = min(count, math.ceil(len(ranked) / 2))
    return ranked[:num_worst], ranked[num_worst:][::-1][:count]


def _lead(context: Mapping[str, Any]) -> str:
    """Return what was evaluated on what, as far as the context says."""
    parts = [str(context[key]) for key in ("model", "data", "split") if key in context]
    return " · ".join(parts)


def _cells(
    counts: Int64[ndarray, "classes classes"], names: Sequence[str]
) -> list[list[_Cell | None]]:
    """Divide each row of the matrix by its sum; mistakes are coloured by their square root.

    A mistake of a few per cent would not be seen beside a class that is right to 90 %.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows: list[list[_Cell | None]] = []
    for row, values in enumerate(shares.tolist()):
        cells = []
        for column, share in enumerate(values):
            is_right = row == column
            strength = share if is_right else math.sqrt(share)
            shown = _Cell(names[column], share, strength, is_right)
            cells.append(shown if share >= LEAST_SHOWN_SHARE else None)
        rows.append(cells)
    return rows


def _mistakes(counts: Int64[ndarray, "classes classes"], names: Sequence[str]) -> list[_Mistake]:
    """Return the mistakes that cost the most pixels, the largest first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    largest = np.argsort(-wrong, axis=None, kind="stable")[:_NUM_MISTAKES]
    mistakes = []
    for true, predicted in (divmod(int(place), len(names)) for place in largest):
        number = int(wrong[true, predicted])
        if number:
            share_of_class = number / int(counts[true].sum())
            share = number / int(counts.sum())
            mistakes.append(_Mistake(names[true], names[predicted], share, share_of_class))
    return mistakes


def _image(score: ImageScore, label: Label, item: Item, classes: Classes) -> _Image:
    """Read and label an image again, and draw it."""
    sample = read_sample(item, classes)
    labels = label(item, sample)
    matrix = ConfusionMatrix(len(classes), classes.ignore_index)
    matrix.add(sample.labels, labels)
    found = scores(matrix, classes.names).classes
    shown = [
        (each.name, info.color, each.iou)
        for each, info in sorted(
            zip(found, classes.by_index, strict=True), key=lambda pair: pair[0].pixels, reverse=True
        )
        if each.pixels or each.pixels_predicted
    ]
    views = draw_pictures(sample, labels, classes, _MAX_SIDE)
    maps = {"Truth": label_map_uri(sample.labels), "Prediction": label_map_uri(labels)}
    pictures = [
        (caption, data_uri(picture), maps.get(caption, "")) for caption, picture in views.items()
    ]
    size = next(iter(views.values())).shape[:2]
    return _Image(score, pictures, size, shown)
