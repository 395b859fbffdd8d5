"""The page of a data check: findings with thumbnails, and charts of classes and sizes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_image, decode_mask
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.problems import Problem
from segmenter.data.masks.values import MaskError, map_known_values
from segmenter.drawing import smaller_size
from segmenter.errors import UserError
from segmenter.extras.checking.check import Check
from segmenter.extras.checking.findings import Finding
from segmenter.extras.checking.split_facts import SplitFacts
from segmenter.files.outputs import OutputFolder
from segmenter.pages import PAGE_NAME, data_uri, render_page

_NUM_PICTURED = 4
"""Problems of one kind that are shown with pictures."""
_NUM_LISTED = 100
"""... and those that are named below them."""
_NUM_PICTURES = 4
"""Of one problem."""
_NUM_VALUES = 10
_NUM_SIZES = 8
_MAX_SIDE = 240
_UNKNOWN_COLOR = (255, 0, 200)
_IGNORED_COLOR = (46, 50, 58)
_MIN_SHARE = 1e-5  # where the axis of shares begins


class _Card(NamedTuple):
    """A problem as it is shown."""

    message: str
    pictures: list[tuple[str, str | None]]
    """File name, and data URI; none if the file cannot be drawn."""


class _Dot(NamedTuple):
    """A split's share of a class, on the axis of shares."""

    split: int
    x: float
    """0 to 1 along the axis."""
    text: str


class _Row(NamedTuple):
    """A class in the chart of shares."""

    name: str
    color: tuple[int, int, int]
    dots: list[_Dot]


class _Size(NamedTuple):
    """An image size in the chart of sizes."""

    width: int
    height: int
    count: int
    radius: float


def write_page(check: Check, data: LabelledFolder, folder: OutputFolder) -> Path:
    """Write one page that holds everything, pictures too, so that it can be mailed.

    Args:
        check: What was found.
        data: What it was found in; images and masks that are shown are read once more.
        folder: Gets the page.

    Returns:
        The path of the page.

    Raises:
        UserError: If it cannot be written.
    """
    masks = {item.mask for items in data.splits.values() for item in items if item.mask}
    sizes = _sizes(check.splits)
    page = render_page(
        "segmenter.extras.checking",
        "check.html.jinja",
        check=check,
        findings=[(each, _cards(each, masks, check.classes)) for each in check.findings],
        num_listed=_NUM_LISTED,
        num_pictured=_NUM_PICTURED,
        num_values=_NUM_VALUES,
        rows=_rows(check),
        ticks=[(_along(share), f"{100 * share:g} %") for share in (1e-4, 1e-3, 0.01, 0.1, 1.0)],
        sizes=sizes,
        largest=max((max(size.width, size.height) for size in sizes), default=1),
        num_sizes=_NUM_SIZES,
        names=check.classes.names,
    )
    return folder.write(PAGE_NAME, page)


def _cards(finding: Finding, masks: set[Path], classes: Classes) -> list[_Card]:
    return [_card(problem, masks, classes) for problem in finding.problems[:_NUM_PICTURED]]


def _card(problem: Problem, masks: set[Path], classes: Classes) -> _Card:
    pictures = []
    for path in problem.paths[:_NUM_PICTURES]:
        if path.suffix.lower() == ".txt":
            continue
        try:
            drawn = _mask_picture(path, classes) if path in masks else _image_picture(path)
        except UserError:
            drawn = None
        pictures.append((path.name, None if drawn is None else data_uri(drawn)))
    return _Card(problem.message, pictures)


def _image_picture(path: Path) -> UInt8[ndarray, "height width 3"]:
    image = decode_image(path)
    return cv2.resize(image, smaller_size(image.shape, _MAX_SIDE), interpolation=cv2.INTER_AREA)


def _mask_picture(path: Path, classes: Classes) -> UInt8[ndarray, "height width 3"]:
    """The mask in the colours of its classes; what has no class stands out, however small."""
    raw = decode_mask(path, apply_palette=classes.is_rgb)
    try:
        labels = map_known_values(raw, classes, source=str(path))
    except MaskError:
        return _image_picture(path)
    size = smaller_size(raw.shape, _MAX_SIDE)
    small = np.array(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), dtype=np.int32)
    unknown = (labels < 0).astype(np.float32)
    has_unknown = np.asarray(cv2.resize(unknown, size, interpolation=cv2.INTER_AREA))
    is_class = (small >= 0) & (small < len(classes))
    drawn = np.full((*small.shape, 3), _IGNORED_COLOR, dtype=np.uint8)
    drawn[is_class] = np.take(classes.colors, small[is_class], axis=0)
    drawn[has_unknown > 0] = _UNKNOWN_COLOR
    return drawn


def _rows(check: Check) -> list[_Row]:
    """A row for each class: its share of the labelled pixels in each split."""
    rows = []
    for index, info in enumerate(check.classes.by_index):
        dots = []
        for place, split in enumerate(check.splits):
            total = int(split.pixel_counts.sum())
            if total:
                share = int(split.pixel_counts[index]) / total
                masks = f"{split.mask_counts[index]} of {split.num_usable} masks"
                text = f"{split.name}: {100 * share:.3g} % of its pixels, in {masks}"
                dots.append(_Dot(place, _along(share), text))
        rows.append(_Row(info.name, info.color, dots))
    return rows


def _along(share: float) -> float:
    """Where a share lies on a logarithmic axis, 0 to 1."""
    return 1 - math.log10(max(share, _MIN_SHARE)) / math.log10(_MIN_SHARE)


def _sizes(splits: Sequence[SplitFacts]) -> list[_Size]:
    """Image sizes over all splits, the commonest first."""
    counts: dict[tuple[int, int], int] = {}
    for split in splits:
        for size, count in split.sizes:
            counts[size] = counts.get(size, 0) + count
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        _Size(width, height, count, 3 + 2 * math.log10(count)) for (height, width), count in ordered
    ]
