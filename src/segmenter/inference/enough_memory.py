"""Report a lack of memory in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from segmenter.errors import UserError
from segmenter.runtimes.devices import is_out_of_memory


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn an out-of-memory error of any library into a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        if isinstance(error, cv2.error):
            is_short = error.code == cv2.Error.StsNoMem
        else:
            is_short = is_out_of_memory(error)
        if not is_short:
            raise
        raise UserError(
            "the image does not fit into memory at the size of the protocol; give a smaller "
            "short side or fewer scales, or an image of fewer pixels"
        ) from None
