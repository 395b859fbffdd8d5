"""One page that compares two models: scores with intervals, classes, and images side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segmenter.classes import Classes
from segmenter.data.folder import Item, read_sample
from segmenter.evaluation.bootstrap import LEVEL, MEANS, NUM_RESAMPLES, Interval
from segmenter.evaluation.comparison import Comparison, ImageDifference, difference
from segmenter.evaluation.pictures import (
    ONLY_A_COLOR,
    ONLY_B_COLOR,
    UNLABELLED_COLOR,
    WRONG_COLOR,
    draw_comparison,
)
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.pages import PAGE_NAME, data_uri, render_page

_NUM_SHOWN = 12
_MAX_SIDE = 640  # of a picture in the page, in pixels
_COLORS = {
    "only_a": ONLY_A_COLOR,
    "only_b": ONLY_B_COLOR,
    "wrong": WRONG_COLOR,
    "unlabelled": UNLABELLED_COLOR,
}


class _Row(NamedTuple):
    """A score of both models."""

    name: str
    color: tuple[int, int, int] | None
    """Of a class."""
    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None


class _Image(NamedTuple):
    """One image as it is shown."""

    score: ImageDifference
    pictures: list[tuple[str, str]]
    """Caption and data URI."""


def write_comparison(
    comparison: Comparison,
    predictors: tuple[Predictor, Predictor],
    items: Sequence[Item],
    classes: Classes,
    folder: OutputFolder,
    context: Mapping[str, Any],
) -> Path:
    """Write one page that holds everything, pictures too, so that it can be mailed.

    The images it shows are read and predicted once more.

    Args:
        comparison: What was found.
        predictors: What it was found with, A and B.
        items: What it was found on, in the same order.
        classes: Of the data.
        folder: Gets the page.
        context: Models, data, split, protocols, versions and the like, shown as they are.

    Returns:
        The path of the page.

    Raises:
        UserError: If an image cannot be read any more, or the page not be written.
    """
    means, rows = _rows(comparison, classes)
    shown = [image for image in comparison.images if image.difference][:_NUM_SHOWN]
    page = render_page(
        "segmenter.evaluation.reports",
        "comparison.html.jinja",
        comparison=comparison,
        level=LEVEL,
        num_resamples=NUM_RESAMPLES,
        miou=means[0],
        means=means,
        rows=rows,
        widest=_widest(rows),
        reach=_reach(comparison.images),
        context=context,
        seconds=comparison.a.seconds + comparison.b.seconds,
        images=[_image(each, predictors, items[each.index], classes) for each in shown],
        colors=_COLORS,
    )
    return folder.write(PAGE_NAME, page)


def _rows(comparison: Comparison, classes: Classes) -> tuple[list[_Row], list[_Row]]:
    """Return the rows of the scores over all classes, and those of the classes."""
    found = comparison.intervals
    means = [
        _row(MEANS[name], None, a, b, found and found.means[name])
        for name, (a, b) in comparison.means.items()
    ]
    pairs = zip(comparison.a.scores.classes, comparison.b.scores.classes, strict=True)
    of_classes = [
        _row(info.name, info.color, a.iou, b.iou, found and found.ious[index])
        for index, (info, (a, b)) in enumerate(zip(classes.by_index, pairs, strict=True))
    ]
    return means, of_classes


def _row(
    name: str,
    color: tuple[int, int, int] | None,
    a: float | None,
    b: float | None,
    interval: Interval | None,
) -> _Row:
    return _Row(name, color, a, b, difference(a, b), interval)


def _widest(rows: Sequence[_Row]) -> float:
    """Return how far the axis of differences goes to each side."""
    ends = [abs(row.difference) for row in rows if row.difference is not None]
    ends += [max(abs(row.interval.low), abs(row.interval.high)) for row in rows if row.interval]
    return max(ends, default=0.0) or 1.0


def _reach(images: Sequence[ImageDifference]) -> tuple[float, float]:
    """Return where the axes of the images' mIoU begin and end: whole tenths around all."""
    values = [value for image in images for value in (image.a, image.b)]
    low = math.floor(10 * min(values, default=0.0)) / 10
    return low, max(math.ceil(10 * max(values, default=1.0)) / 10, low + 0.1)


def _image(
    score: ImageDifference,
    predictors: tuple[Predictor, Predictor],
    item: Item,
    classes: Classes,
) -> _Image:
    """Read and predict an image again, and draw it."""
    sample = read_sample(item, classes)
    a, b = (predictor(sample.image) for predictor in predictors)
    views = draw_comparison(sample, a, b, classes, _MAX_SIDE)
    return _Image(
        score,
        [(caption, data_uri(picture)) for caption, picture in views.items()],
    )
