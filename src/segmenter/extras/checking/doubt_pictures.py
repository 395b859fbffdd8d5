"""Pictures of doubtful labels: image, label and prediction side by side."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import read_sample
from segmenter.data.pairing.items import Item
from segmenter.data.sample import Sample
from segmenter.drawing import overlay
from segmenter.extras.checking.doubtful_labels import Doubt, DoubtfulImage, Doubts
from segmenter.extras.checking.doubtful_regions import Box
from segmenter.extras.checking.label_reference import LabelReference
from segmenter.image_spec import shown_pixels
from segmenter.pages import data_uri
from segmenter.terminal import timed_progress
from segmenter.text import percent

NUM_SHOWN = 20
"""Regions, and images, that terminal and page show."""
_SIDE = 360
"""Longer side of a picture, in pixels."""
_LEAST_AROUND = 32
"""Pixels around a region that are shown, at least."""
_OPACITY = 0.6
_BOX_COLOR = (255, 255, 255)
_BOX_SHADOW = (0, 0, 0)


class DoubtCard(NamedTuple):
    """A doubt as the page shows it."""

    name: str
    link: str | None
    """Suffix to the address of `segmenter label` that opens the image or region there."""
    text: str
    pictures: dict[str, str]
    """Data URIs by caption."""


class DoubtCards(NamedTuple):
    """The page's view of doubtful labels."""

    doubts: Doubts
    images: list[DoubtCard]
    regions: list[DoubtCard]


def draw_doubts(doubts: Doubts, reference: LabelReference) -> DoubtCards:
    """Draw the first doubts; their images are read and predicted once more.

    Args:
        doubts: What was found.
        reference: What it was found with.
    """
    boxes: dict[Item, list[Box | None]] = {}
    for image in doubts.images[:NUM_SHOWN]:
        boxes.setdefault(image.item, []).append(None)
    for doubt in doubts.regions[:NUM_SHOWN]:
        boxes.setdefault(doubt.item, []).append(doubt.region.box)
    drawn: dict[tuple[Item, Box | None], dict[str, str]] = {}
    with timed_progress("drawing doubtful labels", len(boxes)) as advance:
        for item, of_item in boxes.items():
            sample = read_sample(item, doubts.classes)
            predicted = reference.labels(item, sample.image)
            for box in of_item:
                drawn[item, box] = _pictures(sample, predicted, doubts.classes, box)
            advance()

    def card(each: Doubt | DoubtfulImage, text: str, box: Box | None) -> DoubtCard:
        return DoubtCard(each.item.name, doubts.link(each.item, box), text, drawn[each.item, box])

    return DoubtCards(
        doubts,
        [card(each, each.reason, None) for each in doubts.images[:NUM_SHOWN]],
        [
            card(each, describe_region(each, doubts.classes), each.region.box)
            for each in doubts.regions[:NUM_SHOWN]
        ],
    )


def describe_region(doubt: Doubt, classes: Classes) -> str:
    """Return classes, size, place and margin of a region, in one line."""
    region = doubt.region
    left, top, width, height = region.box
    return (
        f"{classes.names[region.label]}, perhaps {classes.names[region.predicted]}: "
        f"{region.area} pixels at {left}, {top} ({width} x {height}), mean margin "
        f"{percent(region.score / region.area, 0)} %"
    )


def _pictures(
    sample: Sample, predicted: Shaped[ndarray, "height width"], classes: Classes, box: Box | None
) -> dict[str, str]:
    """Draw the surroundings of a box, and the box; None: the whole image without one."""
    around, inner = _surroundings(sample.labels.shape, box)
    image = shown_pixels(sample.image[around], classes.image)
    factor = _SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(image, size, interpolation=way))
    views = {"Image": small.copy()}
    for caption, labels in (("Label", sample.labels), ("Prediction", predicted)):
        part = cv2.resize(labels[around], size, interpolation=cv2.INTER_NEAREST)
        views[caption] = overlay(
            small, np.asarray(part), classes.colors, _OPACITY, classes.background_index
        )
    if inner is not None:
        for view in views.values():
            _draw_box(view, inner, factor)
    return {caption: data_uri(view) for caption, view in views.items()}


def _surroundings(
    shape: tuple[int, ...], box: Box | None
) -> tuple[tuple[slice, slice], Box | None]:
    """Return the part of an image to show, and the box inside it."""
    if box is None:
        return (slice(None), slice(None)), None
    left, top, width, height = box
    border = max(_LEAST_AROUND, max(width, height) // 2)
    x, y = max(left - border, 0), max(top - border, 0)
    rows = slice(y, min(top + height + border, shape[0]))
    columns = slice(x, min(left + width + border, shape[1]))
    return (rows, columns), (left - x, top - y, width, height)


def _draw_box(view: UInt8[ndarray, "height width 3"], box: Box, factor: float) -> None:
    left, top, width, height = (round(value * factor) for value in box)
    corners = (left, top), (left + width, top + height)
    cv2.rectangle(view, *corners, _BOX_SHADOW, 4)
    cv2.rectangle(view, *corners, _BOX_COLOR, 2)
