"""Images are decoded in processes of their own: one that dies, swells or hangs harms no other.

Each image has an allowance of CPU time that grows with its pixels; the process that uses it up is
ended by the kernel, also inside a library, and so is one whose request is over. Large images leave
one process to the small ones.
"""

import asyncio
import atexit
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.data.decoding.decode import Limits
from segmenter.extras.serving.decode_process import Reading, answer_requests, decode_as
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.image_spec import ImageSpec

_END_TIMEOUT = 1.0  # seconds, for an image whose request is over


class DecodePool:
    """Processes that turn the bytes of images into pixels, started when they are needed."""

    def __init__(
        self,
        settings: ServiceSettings,
        image_bits: int | None = None,
        image: ImageSpec | None = None,
    ) -> None:
        self._settings, self._reading = settings, Reading(image_bits, image)
        count = settings.decode_processes
        self._free, self._free_for_large = (
            asyncio.Semaphore(count),
            asyncio.Semaphore(max(1, count - 1)),
        )
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._is_closed = False
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoder")
        atexit.register(self.close)

    async def decode(
        self, data: bytes, note_large: Callable[[], None] = lambda: None
    ) -> Shaped[ndarray, "height width channels"]:
        """Decode one image.

        Args:
            data: Content of the file.
            note_large: Called before a large image is decoded; may refuse it.

        Raises:
            RequestError: 422 if the bytes are not an image that may be decoded.
        """
        pixels = await self._decode_once(data, self._settings.large_pixels)
        if pixels is not None:
            return pixels
        note_large()
        async with self._free_for_large:
            pixels = await self._decode_once(data, None)
        assert pixels is not None
        return pixels

    async def _decode_once(self, data: bytes, max_pixels: int | None) -> ndarray | None:
        """Decode in the next process that is free; nothing for an image of more pixels."""
        loop = asyncio.get_running_loop()
        async with self._free:
            for is_last_try in (False, True):
                process = self._idle.pop() if self._idle else await self._started()
                running = loop.run_in_executor(
                    self._threads, process.decode, data, self._settings, max_pixels
                )
                try:
                    pixels = await asyncio.shield(running)
                except _DiedError as died:
                    self._all.discard(process)
                    if died.is_out_of_time:
                        raise _too_hard("time") from None
                    # It may have died before, of something else.
                    if is_last_try:
                        raise _too_hard("memory") from None
                except asyncio.CancelledError:
                    await self._give_up(process, running)
                    raise
                except RequestError:
                    self._idle.append(process)
                    raise
                else:
                    self._idle.append(process)
                    return pixels

    async def _give_up(self, process: "_Process", running: asyncio.Future[Any]) -> None:
        """Let a process end an image that nobody waits for, or end it if that takes long.

        A new one takes a second: clients that come and go would else keep all from being decoded.
        """
        try:
            done, _ = await asyncio.wait({running}, timeout=_END_TIMEOUT)
        except asyncio.CancelledError:
            done = set()
        if done and not isinstance(running.exception(), _DiedError):
            self._idle.append(process)
            return
        process.kill()
        self._all.discard(process)
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def close(self) -> None:
        """End the processes."""
        atexit.unregister(self.close)
        self._is_closed = True
        for process in self._all:
            process.kill()
        self._idle.clear()
        self._all.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _started(self) -> "_Process":
        """Return a new process; one whose request is over meanwhile is kept for the next."""
        loop = asyncio.get_running_loop()
        starting = loop.run_in_executor(self._threads, self._start)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(lambda done: self._idle.append(done.result()))
            raise

    def _start(self) -> "_Process":
        process = _Process(self._settings.decode_memory, self._reading)
        self._all.add(process)
        if self._is_closed:
            process.kill()
        return process


class _DiedError(Exception):
    """A process ended before it answered."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.is_out_of_time = exit_code == -signal.SIGPROF


class _Process:
    """One process, for one image at a time."""

    def __init__(self, memory: int, reading: Reading) -> None:
        self._reading = reading
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=answer_requests,
            args=(theirs, memory, partial(decode_as, reading=reading)),
            daemon=True,
        )
        self._process.start()
        theirs.close()

    def decode(
        self, data: bytes, settings: ServiceSettings, max_pixels: int | None
    ) -> ndarray | None:
        """Have an image decoded; blocks."""
        limits = settings.image_limits
        request = {
            "max_bytes": limits.max_bytes,
            "max_side": limits.max_side,
            "max_pixels": limits.max_pixels,
            "small_pixels": max_pixels or limits.max_pixels,
            "seconds": settings.decode_seconds,
            "seconds_per_megapixel": settings.decode_seconds_per_megapixel,
        }
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            self._connection.send_bytes(data)
            answer = json.loads(self._connection.recv_bytes(1 << 16))
            if "shape" in answer:
                return self._receive(answer["shape"], limits)
        except (OSError, EOFError):
            raise _DiedError(self._end()) from None
        if "problem" in answer:
            raise RequestError(422, "bad-image", answer["problem"])
        return None

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def _receive(self, shape: list[int], limits: Limits) -> ndarray:
        """Pixels, straight into their array."""
        height, width, channels = shape
        wanted, dtype = self._reading.array
        if channels != wanted or height * width > limits.max_pixels:  # an image may own it now
            raise EOFError
        pixels = np.empty(shape, dtype)
        view = pixels.data.cast("B") if pixels.size else memoryview(b"")
        position = 0
        while position < len(view):
            num_bytes = os.readv(self._connection.fileno(), [view[position:]])
            if num_bytes == 0:
                raise EOFError
            position += num_bytes
        return pixels

    def _end(self) -> int | None:
        """Its exit code, once it is gone for certain."""
        self._process.join(1)
        self._process.kill()
        self._process.join()
        self._connection.close()
        return self._process.exitcode


def _too_hard(what: str) -> RequestError:
    return RequestError(422, "bad-image", f"the image could not be decoded within its {what}")
