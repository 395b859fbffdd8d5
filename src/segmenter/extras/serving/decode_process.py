"""The process that decodes images: one at a time, within memory and CPU time.

It imports this module alone, which does without torch: it starts in a tenth of the time.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.data.decoding.decode import Limits, count_pixels, decode_image
from segmenter.errors import UserError
from segmenter.image_spec import ImageSpec

try:
    import resource
except ImportError:  # Windows, where `segmenter serve` says that it does not run
    resource = None

_MAX_SCANS = 100
"""Scans of a JPEG that are read, at most; cameras and programs write about 10."""

Decode = Callable[[bytes, Limits], ndarray]


class Reading(NamedTuple):
    """The way a model reads images."""

    bits: int | None = None
    """Bits per sample of images with more than 8; None: each file's own."""
    image: ImageSpec | None = None
    """None: as RGB of 8 bits."""

    @property
    def array(self) -> tuple[int, np.dtype]:
        """Return the channels and the type of an array of pixels."""
        if self.image is None:
            return 3, np.dtype(np.uint8)
        return self.image.channels, np.dtype(self.image.dtype)


def decode_as(
    data: bytes, limits: Limits, reading: Reading
) -> Shaped[ndarray, "height width channels"]:
    """Decode an image as a model reads it."""
    return decode_image(data, limits=limits, image_bits=reading.bits, image=reading.image)


def answer_requests(connection: Connection, memory: int, decode: Decode) -> None:
    """Decode what comes over a connection until it is closed.

    A request is JSON and the bytes of a file; an answer is JSON, and behind a shape the pixels.
    """
    limit_process(memory)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
    with contextlib.suppress(EOFError, OSError):
        while True:
            request = json.loads(connection.recv_bytes())
            try:
                data = connection.recv_bytes()
                answer, pixels = _answer(data, request, decode)
            except MemoryError:
                return  # what is left of a request would be taken for the next
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send_bytes(json.dumps(answer).encode())
            if pixels is not None and pixels.size:
                _send(connection.fileno(), pixels)
            del data, pixels


def _answer(
    data: bytes, request: dict[str, Any], decode: Decode
) -> tuple[dict[str, Any], ndarray | None]:
    """Return the outcome of a file, and its pixels."""
    limits = Limits(request["max_bytes"], request["max_side"], request["max_pixels"])
    signal.setitimer(signal.ITIMER_PROF, request["seconds"])
    try:
        _check_scans(data)
        num_pixels = count_pixels(data, limits=limits)
        if num_pixels > request["small_pixels"]:
            return {"is_large": True}, None
        allowance = request["seconds"] + request["seconds_per_megapixel"] * num_pixels / 1e6
        signal.setitimer(signal.ITIMER_PROF, allowance)
        pixels = decode(data, limits)
    except UserError as error:
        return {"problem": str(error)[:1000]}, None
    return {"shape": list(pixels.shape)}, np.ascontiguousarray(pixels)


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG of many scans: each goes over all pixels again."""
    if data.startswith(b"\xff\xd8"):
        num_scans = data.count(b"\xff\xda")
        if num_scans > _MAX_SCANS:
            raise UserError(f"the image has {num_scans} scans; at most {_MAX_SCANS} are read")


def _send(file: int, pixels: ndarray) -> None:
    view = pixels.data.cast("B")
    position = 0
    while position < len(view):
        position += os.write(file, view[position:])


def limit_process(memory: int) -> None:
    """Bound the memory that this process takes from now on, and leave signals to the service."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if resource is None:
        return
    with contextlib.suppress(ValueError, OSError):
        limit = _address_space(resource.getpagesize()) + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _address_space(page_bytes: int) -> int:
    """Return the bytes that this process has mapped: its libraries, and those of its script."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * page_bytes if pages.exists() else 0
