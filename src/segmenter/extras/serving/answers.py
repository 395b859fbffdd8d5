"""Make the answers of the service: a label PNG, an overlay, or JSON, as the request accepts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import UInt, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.annotations.rle import masks_rle
from segmenter.drawing import class_shares, encode_jpeg, label_map_png, overlay_with_legend
from segmenter.extras.serving.refusals import RequestError
from segmenter.label_files.annotations.outlines import find_regions


@dataclass(frozen=True)
class Labelled:
    """An image and its labels."""

    image: UInt8[ndarray, "height width 3"]
    labels: UInt[ndarray, "height width"]
    classes: Classes


def _label_map(labelled: Labelled) -> bytes:
    classes = labelled.classes
    return label_map_png(labelled.labels, classes.colors, classes.ignore_index)


def _overlay(labelled: Labelled) -> bytes:
    return encode_jpeg(overlay_with_legend(labelled.image, labelled.labels, labelled.classes))


def _json(labelled: Labelled) -> bytes:
    """Shares, run lengths and polygons of the classes that occur, the largest first."""
    classes, labels = labelled.classes, labelled.labels
    shares = class_shares(labels, len(classes))
    masks = masks_rle(labels)
    found: list[dict[str, Any]] = [
        {
            "index": index,
            "name": classes.names[index],
            "color": list(classes.by_index[index].color),
            "share": float(shares[index]),
            "rle": masks[index],
            "polygons": [
                {
                    "outer": region.outer.tolist(),
                    "holes": [hole.tolist() for hole in region.holes],
                }
                for region in find_regions(labels == index)
            ],
        }
        for index in sorted(classes.present(labels), key=lambda index: -shares[index])
    ]
    height, width = labels.shape
    return json.dumps({"height": height, "width": width, "classes": found}).encode()


ANSWERS: dict[str, Callable[[Labelled], bytes]] = {
    "image/png": _label_map,
    "image/jpeg": _overlay,
    "application/json": _json,
}
"""Media type -> what writes it; the first is the one that is sent where all are accepted."""


def choose_answer(accept: str) -> str:
    """Return the media type that a request's `Accept` prefers.

    Raises:
        RequestError: 406 where it accepts none.
    """
    weights = _weights(accept)
    best = max(ANSWERS, key=lambda kind: _weight(kind, weights))
    if _weight(best, weights) <= 0:
        raise RequestError(
            406, "not-acceptable", f"the answer can be {', '.join(ANSWERS)}; accept one of them"
        )
    return best


def _weights(accept: str) -> dict[str, float]:
    """Media range -> quality."""
    weights = {}
    for part in (accept or "*/*").split(","):
        kind, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = min(max(float(value), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        weights[kind] = quality
    return weights


def _weight(kind: str, weights: dict[str, float]) -> float:
    """Quality of a media type: the most specific range that holds it counts."""
    for media_range in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        if media_range in weights:
            return weights[media_range]
    return 0.0
