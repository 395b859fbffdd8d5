"""The page of `segmenter suggest`: the images in their order, and where the model is unsure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from segmenter.data.decoding.decode import decode_image
from segmenter.drawing import smaller_size
from segmenter.extras.suggesting.suggestion import Suggestion
from segmenter.files.outputs import OutputFolder
from segmenter.image_spec import shown_pixels
from segmenter.inference.predictor import Predictor
from segmenter.model.segmenter import ImageSize
from segmenter.pages import PAGE_NAME, data_uri, render_page
from segmenter.terminal import timed_progress
from segmenter.text import visible

_SIDE = 640
"""Longer side of a picture, in pixels."""
_SURE_BRIGHTNESS = 0.25
"""Brightness of a pixel whose label the model is certain of."""


class _Card(NamedTuple):
    """A suggestion as the page shows it."""

    name: str
    link: str
    """Path and fragment that open the image on the page of `segmenter label`."""
    confidence: float
    distance: float
    reason: str
    image: str
    """Data URI, as the next."""
    unsure: str
    size: ImageSize
    """Height and width of the pictures, in pixels."""


def write_page(
    suggestions: Sequence[Suggestion],
    paths: Mapping[str, Path],
    model: str,
    predictor: Predictor,
    data: Path,
    folder: OutputFolder,
) -> Path:
    """Write one page that holds everything, pictures too, and return its path.

    Args:
        suggestions: The best first; their images are read and predicted once more.
        paths: The file of each image, by name.
        model: Its name.
        predictor: Says where it is unsure.
        data: The data set.
        folder: Gets the page.

    Raises:
        UserError: If it cannot be written, or an image is gone.
    """
    cards = []
    with timed_progress("drawing images", len(suggestions)) as advance:
        for each in suggestions:
            cards.append(_card(each, paths[each.image], predictor))
            advance()
    page = render_page(
        "segmenter.extras.suggesting",
        "suggest.html.jinja",
        cards=cards,
        data=visible(str(data)),
        model=visible(model),
        terms=predictor.spec.license,
    )
    return folder.write(PAGE_NAME, page)


def _card(suggestion: Suggestion, path: Path, predictor: Predictor) -> _Card:
    spec = predictor.spec.image
    image = decode_image(path, image_bits=predictor.image_bits, image=spec)
    width, height = smaller_size(image.shape, _SIDE)
    confidence = cv2.resize(
        predictor.confidence(image), (width, height), interpolation=cv2.INTER_AREA
    )
    picture = shown_pixels(image, spec)
    small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    return _Card(
        visible(suggestion.image),
        f"/#{quote(suggestion.image)}",
        1 - suggestion.uncertainty,
        suggestion.distance,
        suggestion.reason,
        data_uri(small),
        data_uri(dimmed(small, np.asarray(confidence, np.float32))),
        (height, width),
    )


def dimmed(
    image: UInt8[ndarray, "height width 3"], confidence: Float32[ndarray, "height width"]
) -> UInt8[ndarray, "height width 3"]:
    """Darken the pixels by the confidence of their labels."""
    brightness = 1 - (1 - _SURE_BRIGHTNESS) * confidence
    return np.rint(image * brightness[:, :, None]).astype(np.uint8)
