"""Videos, image sequences and cameras of `segmenter predict`."""

import glob
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segmenter.data.decoding.image_formats import UNREAD_VIDEO_SUFFIXES, VIDEO_SUFFIXES
from segmenter.data.pairing.find_images import is_usable_name, refuse_address
from segmenter.data.video.frames import Camera, VideoFile, import_av
from segmenter.data.video.image_sequence import ImageSequence, find_sequence, is_sequence
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.options import DEFAULT_FPS, DEFAULT_VIDEO, ImageOutput, VideoOptions
from segmenter.predicting.images import Result
from segmenter.predicting.video import (
    Video,
    label_video,
    output_names,
)
from segmenter.training.signals import StopSignals

_PROGRESS_SECONDS = 10.0


def find_videos(inputs: Sequence[str], options: VideoOptions) -> tuple[list[Video], list[str]]:
    """Tell videos from images.

    Args:
        inputs: What was given: files, patterns, devices.
        options: Frames a second of image sequences, and the format of cameras.

    Returns:
        Videos, and the inputs that are none. Folders are looked through for images alone.

    Raises:
        UserError: If a pattern fits nothing, or the frames a second are impossible or for none.
    """
    videos: list[Video] = []
    others = []
    for given in inputs:
        path, mode = Path(given), _mode(given)
        if not mode:
            refuse_address(given)
        if stat.S_ISCHR(mode):
            videos.append(Camera(path, path.name, options.camera_format or "v4l2"))
        elif stat.S_ISFIFO(mode):
            videos.append(Camera(path, path.stem, options.camera_format))
        elif not mode and is_sequence(given):
            videos.append(find_sequence(given, DEFAULT_FPS if options.fps is None else options.fps))
        elif stat.S_ISREG(mode) and path.suffix.lower() in UNREAD_VIDEO_SUFFIXES:
            raise UserError(
                f"{given} is a video of a kind that is not read; convert it, such as by "
                f"`ffmpeg -i {path.name} {path.stem}.mp4`"
            )
        elif stat.S_ISDIR(mode) or path.suffix.lower() not in VIDEO_SUFFIXES:
            others.append(given)
        elif mode:
            videos.append(VideoFile(path, path.stem))
        else:
            matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207
            if not matches:
                raise UserError(f"no such file: {given}")
            videos += [VideoFile(match, match.stem) for match in matches]
    _refuse_unused_fps(options.fps, videos)
    return list(dict.fromkeys(videos)), others


def _refuse_unused_fps(fps: float | None, videos: Sequence[Video]) -> None:
    if fps is not None and not any(isinstance(each, ImageSequence) for each in videos):
        raise UserError(
            f"--fps {fps:g} is for image sequences such as `frame-%04d.png`, and none is given; "
            "omit it"
        )


def _mode(given: str) -> int:
    """Return the mode of the file at a path, or 0 if there is none."""
    try:
        return os.stat(given).st_mode  # noqa: PTH116 - of a name too long, pathlib's raises as well
    except (OSError, ValueError):
        return 0


def check_videos(
    videos: Sequence[Video],
    predictor: Predictor,
    folder: OutputFolder,
    options: VideoOptions,
) -> None:
    """Refuse, before any work is done, what cannot be done with videos.

    Raises:
        UserError: If PyAV is missing, or options, model or a file in the way do not allow it.
    """
    import_av()
    predictor.spec.require_rgb(
        "videos", "write frames as TIFF files, and give these to `segmenter predict`"
    )
    names = (video.name for video in videos if is_usable_name(video.name))
    folder.check(
        each for name in names for each in output_names(name, options.video or DEFAULT_VIDEO)
    )


def label_videos(
    predictor: Predictor,
    videos: Sequence[Video],
    folder: OutputFolder,
    options: VideoOptions,
    output: ImageOutput,
) -> Iterator[Result]:
    """Label videos one after the other, until a signal; say how far each has come."""
    is_stopped = False
    for video in (_read_as_images(each, predictor.image_bits) for each in videos):
        if is_stopped:
            shares = np.zeros(len(predictor.classes))
            problem = f"{video.path} was not begun: stopped by a signal"
            yield Result(video.path, (), shares, 0.0, problem)
            continue
        with StopSignals() as signals:
            if isinstance(video, Camera):
                print(f"{video.path}: until it ends, or Ctrl-C", flush=True)
            result = label_video(
                predictor,
                video,
                folder,
                output=options.video or DEFAULT_VIDEO,
                opacity=output.opacity,
                ids=output.ids,
                stopped=lambda signals=signals: signals.received is not None,
                progress=_progress(video.path),
            )
        is_stopped = signals.received is not None
        yield result


def _read_as_images(video: Video, image_bits: int | None) -> Video:
    """Return a video whose images of more than 8 bits are read as `predict` reads such images."""
    return replace(video, image_bits=image_bits) if isinstance(video, ImageSequence) else video


def _progress(path: Path) -> Callable[[int], None]:
    """Return a function that prints a line every few seconds."""
    start = last = time.monotonic()

    def report(num_frames: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _PROGRESS_SECONDS:
            last = now
            rate = num_frames / (now - start)
            print(f"{path}: {num_frames} frames, {rate:.1f} a second", flush=True)

    return report
