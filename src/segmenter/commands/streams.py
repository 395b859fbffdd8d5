"""Standard output and error that end a command in one line when they cannot be written."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

from segmenter.text import for_terminal

_STDERR = 2
_READER_HAS_GONE = (
    {errno.EPIPE} if os.name == "posix" else {errno.EPIPE, errno.EINVAL}  # Windows says EINVAL
)


class OutputError(Exception):
    """Standard output takes no more: its disk is full, it is closed, or its reader has gone.

    Neither a `UserError`, which commands catch to continue with the next file, nor an `OSError`,
    which is taken for a problem of the file being written.
    """

    def __init__(self, error: OSError) -> None:
        self.reader_has_gone = error.errno in _READER_HAS_GONE
        super().__init__(
            f"standard output cannot be written: {error.strerror}; files that are written stay"
        )


class _Output:
    """Standard output, or what stands in its place; what it does not take is an `OutputError`.

    Args:
        stream: Where text goes, without what would steer a terminal.
        for_rich: Whether the text is from rich, which styles a terminal by codes.
    """

    def __init__(self, stream: Any, *, for_rich: bool = False) -> None:
        self._stream = stream
        self._for_rich = for_rich

    def write(self, text: str) -> int:
        with self._answering():
            self._stream.write(for_terminal(text, self._obeyed()))
        return len(text)

    def flush(self) -> None:
        with self._answering():
            self._stream.flush()

    @property
    def rich_proxied_file(self) -> "_Output":
        """The stream that rich writes to, which asks for it by this name."""
        return type(self)(self._stream, for_rich=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _obeyed(self) -> Literal["none", "colors", "styles"]:
        return "styles" if self._for_rich and self._stream.isatty() else "none"

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(error) from None


class _Messages(_Output):
    """Standard error; if it accepts nothing, drop the text and continue."""

    def _obeyed(self) -> Literal["none", "colors", "styles"]:
        if not self._stream.isatty():
            return "none"
        return "styles" if self._for_rich else "colors"

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _silence(self._stream)


class _Closed(io.StringIO):
    """Standard output of a process that was started without one."""

    def write(self, text: str) -> int:
        if text:
            raise OutputError(OSError(errno.EBADF, "it is closed"))
        return 0


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Guard standard output and error inside the block, also where they were closed before."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold any character
    sys.stdout = _Closed() if sys.stdout is None else _Output(sys.stdout)  # type: ignore[assignment]
    sys.stderr = io.StringIO() if sys.stderr is None else _Messages(sys.stderr)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def silence_output() -> None:
    """Let what standard output still holds go nowhere, as Python would fail to write it at exit."""
    _silence(sys.stdout)


def _fill_descriptors() -> None:
    """Take descriptors 0 to 2 if nothing has: a file opened later would get what is printed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)


def _silence(stream: Any) -> None:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # it is none of the process's own
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
