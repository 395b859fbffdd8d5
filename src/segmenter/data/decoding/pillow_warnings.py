"""Pillow's remarks on metadata are silenced in one place: users cannot act on them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

_lock = Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, and lift Pillow's own limit of pixels: `decode.Limits` has ours.

    Python keeps one list of filters for all threads, and Pillow one limit.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def load(image: Image.Image) -> None:
    """Decode the pixels, outside the lock where Pillow looks at nothing else meanwhile."""
    if image.format in {"TIFF", "GIF"}:
        with quiet():
            image.load()
    image.load()
