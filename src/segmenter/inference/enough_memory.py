"""Report a lack of memory in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from segmenter.errors import UserError
from segmenter.runtimes.devices import is_out_of_memory


class NotEnoughMemoryError(UserError, MemoryError):
    """An image does not fit into memory."""


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn an out-of-memory error of any library into a `NotEnoughMemoryError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each library has its own errors
        if not is_out_of_memory(error):
            raise
        raise NotEnoughMemoryError(
            "the image does not fit into memory at the size of the protocol; give a smaller "
            "short side or fewer scales, or an image of fewer pixels"
        ) from None
