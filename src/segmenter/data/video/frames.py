"""Frames of video files and cameras: upright, bounded, and with their own times.

PyAV decodes (extra `video`). Only the containers named here are opened, and only as files on this
machine: no playlist is followed, nor anything else that a file may point to.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from segmenter.data.decoding.decode import Limits
from segmenter.data.decoding.orientation import turn
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.options import CameraFormat

VIDEO_LIMITS = Limits(max_side=16_384, max_pixels=1 << 25)
"""Limits of a frame, of which several are in memory at a time; a file may have any size."""


_CONTAINERS = "mov,matroska,avi,mpegts"  # mov is mp4 too, and matroska webm
_USUAL_RATE = Fraction(25)
_MICROSECOND = Fraction(1, 1_000_000)
_SLACK_SECONDS = Fraction(6, 100)
_SLACK_FRAMES = Fraction(3, 2)


class VideoTiming(NamedTuple):
    """Properties of all frames of a video."""

    tick: Fraction
    """Unit of time, in seconds: all times are multiples of it."""
    rate: Fraction
    """Frames a second, on average."""


class Frame(NamedTuple):
    """One picture of a video."""

    pixels: UInt8[ndarray, "height width 3"]
    """RGB, 0 to 255, upright."""
    time: Fraction
    """Time at which it is shown, in seconds."""
    timing: VideoTiming
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel over its height."""


@dataclass(frozen=True)
class VideoFile:
    """A video on disk."""

    path: Path
    name: str
    """Stem of the names of its results."""

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Decode all frames, one after the other.

        Args:
            stopped: Called before each frame; once true, no more are decoded.

        Raises:
            UserError: At once, if PyAV is missing or the file holds no video that can be read;
                after its frames, if it was stopped, is damaged or ends early.
        """
        with _open(self.path, None) as container:
            for frame in _read(container, self.path):
                if stopped():
                    raise UserError(f"{self.path}: stopped by a signal; completed frames are kept")
                yield frame


@dataclass(frozen=True)
class Camera:
    """A camera, or a pipe that a video comes through as it is made."""

    path: Path
    name: str
    format: CameraFormat | None
    """None: one of the containers of files, as its content says."""

    def frames(self, stopped: Callable[[], bool]) -> Iterator[Frame]:
        """Decode frames until the camera ends or `stopped` is true; the first is at 0 seconds.

        Raises:
            UserError: As for `VideoFile.frames`, but to be stopped is how a camera ends.
        """
        with _open(self.path, self.format) as container:
            start = None
            for frame in _read(container, self.path):
                if stopped():
                    return
                start = frame.time if start is None else start
                yield frame._replace(time=frame.time - start)


def import_av() -> Any:
    """Import the library for videos.

    Raises:
        UserError: If it is not installed.
    """
    return import_optional("a video", "av", extra="video")


@contextmanager
def _open(path: Path, camera_format: CameraFormat | None) -> Iterator[Any]:
    """A PyAV container, of an allowed kind."""
    av = import_av()
    options = {
        "format_whitelist": camera_format or _CONTAINERS,
        "protocol_whitelist": "file",
        "max_pixels": str(VIDEO_LIMITS.max_pixels),
    }
    if camera_format == "mjpeg":
        options["use_wallclock_as_timestamps"] = "1"  # it has no times of its own
    # Without the prefix, a name such as `concat:a|b` would be more than a file's name.
    url = str(path) if camera_format == "v4l2" else f"file:{path}"
    try:
        container = av.open(url, format=camera_format, options=options, **_any_encoding(av))
    except (av.FFmpegError, ValueError) as error:  # the second for a format that is not built in
        kinds = camera_format or "MP4, MOV, Matroska, WebM, AVI and MPEG-TS"
        raise UserError(
            f"{path} is cut, damaged or not a video ({_reason(error)}); {kinds} can be read"
        ) from None
    try:
        with container:
            yield container
    except av.FFmpegError as error:
        raise UserError(f"{path} cannot be decoded: {_reason(error)}") from None


def _any_encoding(av: Any) -> dict[str, str]:
    """Return the arguments that let metadata be in any encoding; PyAV 19 reads it without one."""
    return {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}


def _read(container: Any, path: Path) -> Iterator[Frame]:
    """Frames of the first video stream, with their own times."""
    stream = _video_stream(container, path)
    rate = stream.average_rate or stream.guessed_rate or _USUAL_RATE
    timing = VideoTiming(max(Fraction(stream.time_base), _MICROSECOND), Fraction(rate))
    time = None
    for decoded in _decode(container, stream, path):
        if decoded.pts is not None:
            time = decoded.pts * Fraction(stream.time_base)
        else:
            time = Fraction(0) if time is None else time + 1 / timing.rate
        swap, flip_rows, flip_columns = _turn(decoded)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
        yield Frame(
            turn(decoded.to_ndarray(format="rgb24"), swap, flip_rows, flip_columns),
            time,
            timing,
            1 / aspect if swap else aspect,
        )


def _video_stream(container: Any, path: Path) -> Any:
    """Return the stream to read, set up to refuse what is too large."""
    attached = import_av().stream.Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & attached]
    if not streams:
        raise UserError(f"{path} has no video in it")
    stream = streams[0]
    if stream.codec_context is None:
        raise UserError(f"{path} is in a codec that cannot be decoded here")
    height, width = stream.height, stream.width
    limits = VIDEO_LIMITS
    if max(height, width) > limits.max_side or height * width > limits.max_pixels:
        raise UserError(
            f"{path} has frames of {height} x {width} pixels; at most {limits.max_pixels} are "
            f"read, and {limits.max_side} a side"
        )
    stream.thread_type = "AUTO"
    # A frame may be larger than the header says. Options of `av.open` are not for this decoder.
    stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
    return stream


def _decode(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Yield all frames that can be decoded, and then a word on those that cannot.

    Raises:
        UserError: After the last frame, if some are missing.
    """
    errors = import_av().FFmpegError
    packets = container.demux()  # of sound too: it may last longer than the pictures
    end, num_damaged, reason = Fraction(0), 0, None
    while True:
        try:
            packet = next(packets, None)
        except errors as error:
            packet, reason = None, _reason(error)
        if packet is None:
            break
        shown = packet.dts if packet.pts is None else packet.pts
        if shown is not None and not packet.is_corrupt:
            end = max(end, (shown + (packet.duration or 0)) * Fraction(packet.time_base))
        if packet.stream != stream:
            continue
        num_damaged += packet.is_corrupt
        try:
            yield from () if packet.is_corrupt else stream.decode(packet)
        except errors:
            num_damaged += 1
    if reason is not None:
        with suppress(errors):
            yield from stream.decode(None)  # what the decoder still has
    promised = Fraction(((container.start_time or 0) + (container.duration or 0)), 1_000_000)
    slack = max(_SLACK_SECONDS, _SLACK_FRAMES / (stream.average_rate or _USUAL_RATE))
    if reason is not None or promised - end > slack:
        of = f" of {float(promised):.2f}" if promised > end else ""
        why = "" if reason is None else f": {reason}"
        raise UserError(f"{path} ends early, after {float(end):.2f}{of} s{why}")
    if num_damaged:
        raise UserError(f"{path} is damaged: {num_damaged} of its frames could not be decoded")


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """Return the arguments of `decode.turn` that make a frame upright, by its display matrix.

    The matrix (ISO/IEC 14496-12, 6.2.2) sends column and row (x, y) to (a x + c y, b x + d y).
    Quarter turns and mirrors are followed; of any other angle, the nearest.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _reason(error: Exception) -> str:
    """Return FFmpeg's message, without the name of the file."""
    return str(getattr(error, "strerror", None) or error)
