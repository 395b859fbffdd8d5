"""Short memory, as one line for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from segmenter.errors import UserError


@contextmanager
def enough_memory() -> Iterator[None]:
    """Say in one line that memory is short, whichever library finds out."""
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
            "the image does not fit into memory at the size it is looked at; give a smaller "
            "short side or fewer scales, or an image of fewer pixels"
        ) from None
