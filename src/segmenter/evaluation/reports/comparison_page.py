"""One page that compares two models: scores with intervals, classes, and images side by side."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import Item, read_sample
from segmenter.data.sample import Sample
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
from segmenter.pages import PAGE_NAME, data_uri, label_map_uri, render_page, shown_names
from segmenter.pages.axes import round_steps
from segmenter.text import percent, span

Label = Callable[[Item, Sample], ndarray]
"""Labels that a model or a folder of label maps gives an image."""
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
    """Colour of a class."""
    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None


class _Image(NamedTuple):
    """One image as it is shown."""

    score: ImageDifference
    pictures: list[tuple[str, str, str]]
    """Caption, data URI, and label map that names the classes; empty if it shows none."""
    size: tuple[int, int]
    """Height and width of the pictures, in pixels."""


def write_comparison(
    comparison: Comparison,
    labels: tuple[Label, Label],
    items: Sequence[Item],
    classes: Classes,
    folder: OutputFolder,
    context: Mapping[str, Any],
) -> Path:
    """Write one page that holds everything, pictures too, so that it can be mailed.

    The images it shows are read and predicted once more.

    Args:
        comparison: What was found.
        labels: Gives the labels of an image, by A and by B.
        items: What it was found on, in the same order.
        classes: Classes of the data.
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
        names=(_short(context["a"]), _short(context["b"])),
        licenses=" · ".join(_licenses(context)),
        in_words=_in_words(means[0]),
        class_names=shown_names(classes.names),
        seconds=comparison.a.seconds + comparison.b.seconds,
        images=[_image(each, labels, items[each.index], classes) for each in shown],
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


def _reach(images: Sequence[ImageDifference]) -> list[float]:
    """Return ticks around the mIoU of all images, in per cent."""
    values = [100 * value for image in images for value in (image.a, image.b)]
    return round_steps(min(values, default=0.0), max(values, default=100.0), 5)


def _short(model: str) -> str:
    """Return the name of a model without its folders."""
    return Path(model).name or model


def _licenses(context: Mapping[str, Any]) -> list[str]:
    """Return the licences of the two models, each once."""
    given = (context[side].get("license") for side in ("how_a", "how_b"))
    return list(dict.fromkeys(filter(None, given)))


def _in_words(miou: _Row) -> str:
    """Return the difference in mIoU as a sentence."""
    if miou.difference is None:
        return "No class occurs, so mIoU cannot be compared."
    points = percent(abs(miou.difference))
    side = "above" if miou.difference > 0 else "below"
    said = f"The mIoU of B is {points} points {side} that of A"
    if miou.difference == 0:
        said = "Both models have the same mIoU"
    if miou.interval is None:
        return f"{said}."
    return f"{said}; the interval of B - A is {span(miou.interval, sign='+')} points."


def _image(
    score: ImageDifference,
    labels: tuple[Label, Label],
    item: Item,
    classes: Classes,
) -> _Image:
    """Read and predict an image again, and draw it."""
    sample = read_sample(item, classes)
    a, b = (label(item, sample) for label in labels)
    views = draw_comparison(sample, a, b, classes, _MAX_SIDE)
    shown = {"Truth": sample.labels, "A": a, "B": b}
    maps = {caption: label_map_uri(labels) for caption, labels in shown.items()}
    return _Image(
        score,
        [(caption, data_uri(picture), maps.get(caption, "")) for caption, picture in views.items()],
        next(iter(views.values())).shape[:2],
    )
