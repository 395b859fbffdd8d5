"""Pillow's remarks on metadata are silenced in one place: they say nothing that a user can mend."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings; Python keeps one list of filters for all threads."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
