"""Images are decoded in processes of their own: one that dies or swells takes no service down."""

import asyncio
import contextlib
import multiprocessing
import resource
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from segmenter.data.decode import Limits, decode_image
from segmenter.errors import UserError
from segmenter.serving.problems import RequestError
from segmenter.serving.settings import ServiceSettings


class DecodePool:
    """Processes that turn the bytes of images into pixels."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._pool = self._start()

    async def decode(self, data: bytes) -> UInt8[ndarray, "height width 3"]:
        """Decode one image.

        Where a process died, each image that was with the processes is tried once more, alone: the
        one that kills again is the culprit, and the others are none the worse.

        Raises:
            RequestError: 422 where the bytes are no image that may be decoded.
        """
        pool = self._pool
        try:
            return await self._decode_in(pool, data)
        except BrokenProcessPool:
            self._replace(pool)
        alone = self._start(processes=1)
        try:
            return await self._decode_in(alone, data)
        except BrokenProcessPool:
            raise _too_hard() from None
        finally:
            alone.shutdown(wait=False)

    async def _decode_in(self, pool: ProcessPoolExecutor, data: bytes) -> ndarray:
        limits = self._settings.image_limits
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _decode, data, limits)
        except UserError as error:
            raise RequestError(422, "bad-image", str(error)) from None
        except MemoryError:  # decoded, but no room for sending it
            raise _too_hard() from None

    def close(self) -> None:
        """Stop the processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """Start new processes, once for all who noticed that these died."""
        if self._pool is broken:
            self._pool = self._start()
            broken.shutdown(wait=False, cancel_futures=True)

    def _start(self, processes: int | None = None) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            processes or self._settings.decode_processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=limit_process,
            initargs=(self._settings.decode_memory,),
        )


def limit_process(memory: int) -> None:
    """Bound the memory that this process takes from now on, and leave signals to the service."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        limit = _address_space() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _address_space() -> int:
    """Bytes that this process has mapped: its libraries, and those of a script that started it."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0


def _decode(data: bytes, limits: Limits) -> UInt8[ndarray, "height width 3"]:
    return decode_image(data, limits=limits)


def _too_hard() -> RequestError:
    return RequestError(422, "bad-image", "the image could not be decoded within its memory")
