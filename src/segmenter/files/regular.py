"""Reading a file whole, without waiting for a pipe, and without reading a device for ever."""

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, max_bytes: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file, or a link to it.
        max_bytes: Nothing of a larger file is read; None: no limit.

    Raises:
        OSError: If it is missing, is not a regular file, or is larger; `strerror` says which.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(
                errno.EINVAL,
                "it is a device or a pipe, no file; save its content as one",
                str(path),
            )
        if max_bytes is not None and found.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {max_bytes} bytes", str(path))
        return file.read()
