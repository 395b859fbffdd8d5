"""Report a lack of memory in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from segmenter.errors import UserError


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn a lack of memory, in any library, into a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        is_short = (
            isinstance(error, MemoryError | torch.OutOfMemoryError)
            or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)
            or "can't allocate memory" in str(error)
        )
        if not is_short:
            raise
        raise UserError(
            "the image does not fit into memory at the size of the protocol; give a smaller "
            "short side or fewer scales, or an image of fewer pixels"
        ) from None
