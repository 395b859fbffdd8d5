"""Tiny videos, made on the spot."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="needs PyAV, of the extra video")

ENCODERS = {".mp4": "libx264", ".mkv": "libx264", ".ts": "libx264", ".avi": "mpeg4"} | {
    ".webm": "libvpx-vp9"
}

VFR = [0, 40, 43, 90, 200, 201, 300, 500]
"""Times of frames at a varying rate, in milliseconds."""


def make_picture(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Blocks of 16 pixels, other ones in each frame."""
    rows, columns = (-(-side // 16) for side in size)
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[: size[0], : size[1]]


def write_video(
    path: Path,
    num_frames: int = 12,
    *,
    times: Sequence[int] | None = None,
    tick: Fraction = Fraction(1, 25),
    size: tuple[int, int] = (48, 64),
    pixel_aspect: Fraction = Fraction(1),
    sound_seconds: float = 0.0,
    **options: str,
) -> Path:
    """Frames of `make_picture`; `times` are in ticks, `options` for MP4 alone."""
    times = range(num_frames) if times is None else times
    with av.open(str(path), "w", options=options if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(ENCODERS[path.suffix], rate=25, options={"g": "5"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        stream.codec_context.max_b_frames = 0 if path.suffix == ".mp4" else 2
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if sound_seconds:
            sound = container.add_stream("aac", rate=48_000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(make_picture(index, size), format="rgb24")
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for index in range(round(sound_seconds * 48_000 / 1024)):
            silence = np.zeros((1, 1024), np.float32)
            part = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            part.sample_rate, part.pts = 48_000, index * 1024
            container.mux(sound.encode(part))
        if sound_seconds:
            container.mux(sound.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file without pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        silence = np.zeros((1, 1024), np.float32)
        part = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        part.sample_rate, part.pts = 48_000, 0
        container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Have an MP4 shown turned or mirrored: (x, y) goes to (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # version 0
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    content[start : start + 36] = matrix
    path.write_bytes(content)


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def read_times(path: Path) -> list[float]:
    """When each frame of a video is shown, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [float(frame.pts * stream.time_base) for frame in container.decode(stream)]


def read_pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
