"""Write the files of a video: a video of overlays, or a folder of label maps with their times."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from segmenter.data.video.frames import Frame, import_av
from segmenter.errors import UserError

_FINEST_TICK = Fraction(1, 10_000)
"""In seconds; of two frames with the same time, the second is moved by a tick, or less."""
_ENCODER = "libx264"
_QUALITY = {"preset": "veryfast", "crf": "20"}
_RATES = (1, 1000)
_BT709 = 1
_LIMITED_RANGE = 1


class OverlayVideo:
    """An MP4 file (H.264) whose frames have the times of those they were made from.

    Times below zero, which an MP4 cannot have, move all of them up.
    """

    def __init__(self, container: Any, first: Frame) -> None:
        timing, aspect = first.timing, first.pixel_aspect
        self._container = container
        rate = min(max(timing.rate, Fraction(_RATES[0])), Fraction(_RATES[1]))
        self._stream = container.add_stream(_ENCODER, rate=rate, options=_QUALITY)
        height, width = first.pixels.shape[:2]
        self._size = height, width
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        # A whole number of ticks is still one of smaller ticks.
        self._tick = timing.tick / -(-timing.tick // _FINEST_TICK)
        context.time_base = self._tick
        context.max_b_frames = 0  # else the MP4 begins before its first frame
        context.sample_aspect_ratio = aspect
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        self._start, self._last = min(first.time, Fraction(0)), -1

    def write(self, pixels: UInt8[ndarray, "height width 3"], time: Fraction) -> None:
        """Add a frame; one of another size than the first is resized."""
        height, width = self._size
        if pixels.shape[:2] != (height, width):
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        if height % 2 or width % 2:  # H.264 has colours for two rows and columns at a time
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = import_av().VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._last = max(round((time - self._start) / self._tick), self._last + 1)
        frame.pts, frame.time_base = self._last, self._tick
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder holds back."""
        self._container.mux(self._stream.encode(None))


@contextmanager
def overlay_video(path: Path, first: Frame) -> Iterator[OverlayVideo]:
    """Open a new video file, whole after the block.

    Args:
        path: The file.
        first: First of the frames that overlays are made from.

    Raises:
        UserError: If frames of this size cannot be encoded, or the file cannot be written.
    """
    av = import_av()
    try:
        with av.open(str(path), "w", format="mp4") as container:
            video = OverlayVideo(container, first)
            yield video
            video.finish()
    except av.FFmpegError as error:
        height, width = first.pixels.shape[:2]
        raise UserError(
            f"the overlay of {height} x {width} pixels cannot be written: {error.strerror}"
        ) from None
