"""Pillow's remarks on metadata are silenced in one place: they say nothing that a user can mend."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import ImageFile

_lock = Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings; Python keeps one list of filters for all threads."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(image: ImageFile.ImageFile) -> None:
    """Decode the pixels, outside the lock except for TIFF, which reads metadata meanwhile."""
    if image.format == "TIFF":
        with quiet():
            image.load()
    image.load()
