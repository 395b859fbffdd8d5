"""Label videos: decoding, the model, drawing and writing overlap, a few frames apart."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from itertools import chain, count
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.pairing.find_images import is_usable_name
from segmenter.data.prefetch import prefetch
from segmenter.data.video.frames import Camera, Frame, VideoFile, import_av
from segmenter.data.video.image_sequence import ImageSequence
from segmenter.drawing import encode_jpeg, overlay, overlay_with_legend
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.label_files.image_outputs import encode_labels
from segmenter.options import Ids, VideoOutput
from segmenter.predicting.images import Result
from segmenter.predicting.video_files import overlay_video

Video = VideoFile | Camera | ImageSequence

_OVERLAY_ENDING, _LEGEND_ENDING = "_overlay.mp4", "_legend.jpg"
_TIMES_ENDING, _LABEL_ENDING = "_labels/frames.csv", "_labels/{:06d}.png"
_MAX_BATCH = 8
_MAX_BATCH_BYTES = 1 << 26
_BATCHES_AHEAD = 3


class _Tally:
    """Count of frames so far, and of the pixels of each class in them."""

    def __init__(self, num_classes: int) -> None:
        self.num_frames = 0
        self._counts = np.zeros(num_classes, dtype=np.int64)

    def add(self, labels: UInt[ndarray, "height width"]) -> None:
        """Count a frame."""
        found = np.bincount(labels.ravel(), minlength=len(self._counts))
        self._counts += found[: len(self._counts)]
        self.num_frames += 1

    @property
    def shares(self) -> Float[ndarray, " classes"]:
        """Share of each class in the pixels so far, 0 to 1."""
        return self._counts / max(int(self._counts.sum()), 1)


class _Drawn(NamedTuple):
    """A labelled frame that is ready to be written."""

    frame: Frame
    labels: UInt[ndarray, "height width"]
    content: Any
    """Pixels of the overlay, or the bytes of the label file."""


_Draw = Callable[[Frame, UInt[ndarray, "height width"]], _Drawn]
_Write = Callable[[_Drawn], None]


def output_names(name: str, output: VideoOutput) -> tuple[str, ...]:
    """Return the files that are written for a video, as far as is known before."""
    if output == "overlay":
        return name + _OVERLAY_ENDING, name + _LEGEND_ENDING
    return name + _TIMES_ENDING, name + _LABEL_ENDING.format(1)


def label_video(
    predictor: Predictor,
    video: Video,
    folder: OutputFolder,
    *,
    output: VideoOutput = "overlay",
    opacity: float = 0.5,
    ids: Ids = "index",
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] = lambda _: None,
) -> Result:
    """Label all frames of a video, and write as many, at the same times.

    `overlay` writes NAME_overlay.mp4, and NAME_legend.jpg: the first frame, with the names of the
    classes and their shares in the whole video. `labels` writes NAME_labels/000001.png and so on,
    and NAME_labels/frames.csv with the time of each in seconds.

    A video that ends early, is damaged or is stopped is written as far as it goes, and the result
    says so; without a single frame, nothing is written.

    Args:
        predictor: What labels the frames; its model must take RGB.
        video: Where frames come from.
        folder: Where files are written.
        output: What is written.
        opacity: Opacity of the colours in the overlay, 0 to 1.
        ids: What label frames hold.
        stopped: Once true, no more frames are taken.
        progress: Called after each frame with the number that are done.

    Raises:
        UserError: If PyAV is missing or a file cannot be written; a video that cannot be read is
            said in the result.
    """
    start = time.perf_counter()
    tally, outputs = _Tally(len(predictor.classes)), ()
    if is_usable_name(video.name):
        import_av()
        problems: list[str] = []
        frames = _pipeline(predictor, video, _drawer(predictor, output, opacity, ids), stopped)
        with closing(_until_error(frames, problems)) as drawn:
            first = _write_frames(drawn, folder, video.name, output, tally, progress)
        if first is None:
            problems = problems or [f"{video.path} holds no frame"]
        else:
            names = output_names(video.name, output)
            if output == "overlay":
                folder.write(names[1], _legend(first, tally, predictor.classes, opacity))
            outputs = tuple(folder.root / name for name in names)
    else:
        problems = [f"{str(video.path)!r}: no result can have this name; rename it"]
    return Result(
        video.path,
        outputs,
        tally.shares,
        time.perf_counter() - start,
        problems[0] if problems else None,
        num_frames=tally.num_frames,
    )


def _write_frames(
    drawn: Iterator[_Drawn],
    folder: OutputFolder,
    name: str,
    output: VideoOutput,
    tally: _Tally,
    progress: Callable[[int], None],
) -> _Drawn | None:
    """Write and count all frames; return the first, or None if there is none."""
    first = next(drawn, None)
    if first is None:
        return None
    open_writer = _overlays if output == "overlay" else _label_frames
    with open_writer(folder, name, first) as write:
        for each in chain([first], drawn):
            write(each)
            tally.add(each.labels)
            progress(tally.num_frames)
    return first


def _legend(first: _Drawn, tally: _Tally, classes: Classes, opacity: float) -> bytes:
    """Draw the first frame with the shares of the whole video, as a JPEG."""
    drawn = overlay_with_legend(
        first.frame.pixels, first.labels, classes, shares=tally.shares, opacity=opacity
    )
    return encode_jpeg(drawn)


def _pipeline(
    predictor: Predictor, video: Video, draw: _Draw, stopped: Callable[[], bool]
) -> Generator[_Drawn, None, None]:
    """Yield frames as they come out of three threads: decoding, the model, drawing.

    What is written from them is a fourth. What can wait between two is bounded.
    """
    # On a CPU, several frames at once take as long as one after the other.
    most = 1 if predictor.device.type == "cpu" else _MAX_BATCH

    def label(batch: list[Frame]) -> list[tuple[Frame, ndarray]]:
        return list(zip(batch, predictor([frame.pixels for frame in batch]), strict=True))

    def draw_all(batch: list[tuple[Frame, ndarray]]) -> list[_Drawn]:
        return [draw(frame, labels) for frame, labels in batch]

    batches = _batches(video.frames(stopped), most)
    decoded = prefetch(lambda batch: batch, batches, _BATCHES_AHEAD, stopped=stopped)
    for drawn in prefetch(draw_all, prefetch(label, decoded, _BATCHES_AHEAD), _BATCHES_AHEAD):
        yield from drawn


def _batches(frames: Iterator[Frame], most: int) -> Generator[list[Frame], None, None]:
    """Yield frames, several at a time, of bounded bytes; before an error, the rest."""
    batch: list[Frame] = []
    try:
        for frame in frames:
            batch.append(frame)
            if len(batch) >= min(most, _MAX_BATCH_BYTES // frame.pixels.nbytes):
                yield batch
                batch = []
    except UserError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _until_error(drawn: Iterator[_Drawn], problems: list[str]) -> Generator[_Drawn, None, None]:
    """Yield frames up to where they break off, and note why they do."""
    try:
        yield from drawn
    except UserError as error:
        problems.append(str(error))
    except MemoryError:
        problems.append("the frames of the video do not fit into memory")


def _drawer(predictor: Predictor, output: VideoOutput, opacity: float, ids: Ids) -> _Draw:
    """Return the function that renders a labelled frame."""
    classes = predictor.classes

    def draw(frame: Frame, labels: UInt[ndarray, "height width"]) -> _Drawn:
        if output == "labels":
            return _Drawn(frame, labels, encode_labels(labels, classes, ids))
        colors, background = classes.colors, classes.background_index
        return _Drawn(frame, labels, overlay(frame.pixels, labels, colors, opacity, background))

    return draw


@contextmanager
def _overlays(folder: OutputFolder, name: str, first: _Drawn) -> Iterator[_Write]:
    """Yield the function that writes a frame to the video of overlays."""
    with (
        folder.writing(name + _OVERLAY_ENDING) as temporary,
        overlay_video(temporary, first.frame) as video,
    ):
        yield lambda drawn: video.write(drawn.content, drawn.frame.time)


@contextmanager
def _label_frames(folder: OutputFolder, name: str, _: _Drawn) -> Iterator[_Write]:
    """Yield the function that writes the label file of a frame; then write the list of them."""
    with (
        folder.writing(name + _TIMES_ENDING) as temporary,
        temporary.open("w", encoding="utf-8") as times,
    ):
        times.write("file,seconds\n")
        numbers = count(1)

        def write(drawn: _Drawn) -> None:
            path = folder.write(name + _LABEL_ENDING.format(next(numbers)), drawn.content)
            times.write(f"{path.name},{float(drawn.frame.time):.6f}\n")

        yield write
