"""Memory that was freed, given back to the system.

The C library keeps what threads have freed for the next time, hundreds of MB after large images.
"""

import asyncio
import ctypes
import gc
from concurrent.futures import Executor
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's malloc.h
_DELAY = 1.0  # seconds, in which the last answer is sent and forgotten


class Heap:
    """Gives freed memory back, a moment after it was asked to.

    Args:
        executor: Where the time for it is spent.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._is_pending = False

    def trim_soon(self) -> None:
        """Give back what is free in a moment, once for all who ask until then."""
        if not self._is_pending:
            self._is_pending = True
            asyncio.get_running_loop().call_later(_DELAY, self._trim)

    def _trim(self) -> None:
        self._is_pending = False
        with suppress(RuntimeError):  # the service has stopped meanwhile
            self._executor.submit(trim)


def limit_arenas() -> None:
    """Let threads share two heaps: each of their own keeps the most that its thread ever used."""
    function = getattr(ctypes.CDLL(None), "mallopt", None)
    if function:
        function(_M_ARENA_MAX, 2)


def trim() -> None:
    """Give back what is free, where the C library is glibc.

    Requests that were given up leave cycles of frames and errors behind, with images in them.
    """
    gc.collect()
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function:
        function(0)
