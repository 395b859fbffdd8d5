"""Label images on disk: while the model looks at one, the next are read and the last are written.

Reading, and drawing, encoding and writing, run in threads of their own, since the libraries that do
the work let others run meanwhile. What waits between them is bounded, results come in the order of
the images, and the files are the same as if everything were done one after the other.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.decode import DecodedImage, read_image
from segmenter.data.pairing.find_images import is_usable_name
from segmenter.drawing import class_shares
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.enough_memory import enough_memory
from segmenter.inference.labels import Quantity
from segmenter.inference.predictor import Predictor
from segmenter.predicting.annotations.formats import SetFormat
from segmenter.predicting.outputs import (
    PROBABILITIES_ENDING,
    Draw,
    ImageOutputs,
    Labelled,
    as_bytes,
    probabilities_file,
)
from segmenter.predicting.profiling import StageClock, num_cpus

_MAX_READERS = 4
_MAX_WRITERS = 8
_WAITING_PIXELS = 100_000_000
"""Of images that are read ahead, and of those being written: where images are large, fewer are."""


@dataclass(frozen=True)
class Result:
    """What became of one image."""

    path: Path
    outputs: tuple[Path, ...]
    """The files written; none if the image could not be labelled."""
    shares: Float[ndarray, " classes"]
    """Share of each class in the pixels, 0 to 1; zeros if the image could not be labelled."""
    seconds: float
    """Of work on it: reading, labelling, writing, without waiting in between."""
    problem: str | None = None
    """Why the image could not be labelled."""
    name: str = ""
    """Of its files, without their endings."""
    lines: dict[SetFormat, str] = field(default_factory=dict)
    """What files that tell of all images say of this one."""
    remarks: tuple[str, ...] = ()
    """What the user should know of how it was read; equal words for equal cases."""


def predict_files(
    predictor: Predictor,
    images: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    outputs: ImageOutputs | None = None,
    clock: StageClock | None = None,
) -> Iterator[Result]:
    """Label images and write files for each, such as NAME_overlay.jpg and NAME_label.png.

    An image that cannot be read, or whose name cannot be written, does not stop the others.

    Args:
        predictor: What labels them; its model must take RGB.
        images: Images and their names; see `find_images`.
        folder: Where files are written.
        outputs: Which; none: overlay, colours and label ids.
        clock: Told where the time goes.

    Returns:
        One result an image, in their order, made as it is asked for.

    Raises:
        UserError: At once, if an option or a file in the way makes the run impossible; later, if
            a file cannot be written.
    """
    outputs = outputs or ImageOutputs(predictor.classes, folder.root)
    predictor.spec.encoder.require_rgb()
    names = (each for _, name in images if is_usable_name(name) for each in outputs.names(name))
    folder.check(chain(names, outputs.set_names))
    return label_images(
        predictor,
        images,
        folder,
        outputs.draw,
        margins="margins" in outputs.save,
        probabilities="probabilities" in outputs.save,
        clock=clock,
    )


def label_images(
    predictor: Predictor,
    images: Iterable[tuple[Path, str]],
    folder: OutputFolder,
    draw: Draw,
    *,
    margins: bool = False,
    probabilities: bool = False,
    clock: StageClock | None = None,
) -> Iterator[Result]:
    """Label any number of images, and write what is drawn of each; see `predict_files`.

    Whoever stops asking, or is interrupted, waits only for files that are being written.

    Args:
        predictor: What labels them.
        images: With their names; asked for a few at a time.
        folder: Where files are written.
        draw: What makes files of an image and its labels; runs in several threads.
        margins: Whether `draw` needs margins.
        probabilities: Whether NAME_probabilities.npz is written.
        clock: Told where the time goes.
    """
    clock = clock or StageClock()
    waiting = iter(images)
    num_readers = min(num_cpus(), _MAX_READERS)
    num_writers = min(num_cpus(), _MAX_WRITERS)
    readers = ThreadPoolExecutor(num_readers, "read")
    writers = ThreadPoolExecutor(num_writers, "write")
    ahead: deque[Future[_Read | Result]] = deque()
    behind: deque[Future[Result]] = deque()
    room = num_readers + 1
    try:
        while True:
            while len(ahead) < min(num_readers + 1, room) and (image := next(waiting, None)):
                ahead.append(readers.submit(_read, *image, predictor, clock))
            if not ahead:
                break
            found = ahead.popleft().result()
            if isinstance(found, _Read):
                found = _label(predictor, found, folder, margins, probabilities, clock)
            if isinstance(found, Result):
                behind.append(_done(found))
            else:
                room = max(1, _WAITING_PIXELS // max(found.labels.size, 1))
                behind.append(writers.submit(_write, found, predictor.classes, folder, draw, clock))
            while behind and (behind[0].done() or len(behind) > min(num_writers, room)):
                yield behind.popleft().result()
        while behind:
            yield behind.popleft().result()
    finally:
        for threads in (readers, writers):
            threads.shutdown(cancel_futures=True)


class _Read(NamedTuple):
    """An image that was read."""

    path: Path
    name: str
    image: UInt8[ndarray, "height width 3"]
    seconds: float
    remarks: tuple[str, ...]


class _Found(NamedTuple):
    """What the model said of an image."""

    read: _Read
    labels: UInt[ndarray, "height width"]
    margins: UInt8[ndarray, "height width"] | None
    outputs: tuple[Path, ...]
    """Written while it was labelled."""
    seconds: float


def _read(path: Path, name: str, predictor: Predictor, clock: StageClock) -> _Read | Result:
    """Decode an image; one that cannot be, or whose results can have no name, has a result."""
    classes = predictor.classes
    if not is_usable_name(name):
        problem = (
            f"{str(path)!r}: no result can have this name; shorten it, and leave out backslashes, "
            "control characters and the names of drives"
        )
        return Result(path, (), np.zeros(len(classes)), 0.0, problem, name)
    start = time.perf_counter()
    try:
        with clock.measure("decode"):
            image = read_image(path, image_bits=predictor.image_bits)
    except (UserError, MemoryError) as error:
        return _failed(path, name, classes, error, time.perf_counter() - start)
    return _Read(path, name, image.pixels, time.perf_counter() - start, remarks_on(image))


def remarks_on(image: DecodedImage) -> tuple[str, ...]:
    """What the user should know of how an image was read."""
    remarks = []
    if image.num_pages > 1:
        remarks.append("several pages or frames: the first is labelled")
    if image.drops_band:
        remarks.append("a fourth band, which is not read")
    if image.bits is not None:
        remarks.append(
            f"more than 8 bits a sample, read as {image.bits}: white is {(1 << image.bits) - 1} "
            "(--image-bits sets it)"
        )
    return tuple(remarks)


def _label(
    predictor: Predictor,
    read: _Read,
    folder: OutputFolder,
    margins: bool,
    probabilities: bool,
    clock: StageClock,
) -> _Found | Result:
    """Show an image to the model; probabilities, of which no memory holds all, go to the disk."""
    start, model_start = time.perf_counter(), predictor.model_seconds
    outputs: list[Path] = []
    sure = None
    try:
        if margins or probabilities:
            size = read.image.shape[0], read.image.shape[1]
            labels = np.empty(size, predictor.classes.label_dtype)
            sure = np.empty(size, np.uint8) if margins else None
            with ExitStack() as stack:
                write = None
                if probabilities:
                    path = stack.enter_context(folder.writing(read.name + PROBABILITIES_ENDING))
                    write = stack.enter_context(probabilities_file(path, size, predictor.classes))
                    outputs.append(folder.root / (read.name + PROBABILITIES_ENDING))
                wanted: list[Quantity] = ["labels"]
                if margins:
                    wanted.append("margins")
                if probabilities:
                    wanted.append("probabilities")
                for rows, found in predictor.rows(read.image, *wanted):
                    labels[rows] = found["labels"]
                    if sure is not None:
                        sure[rows] = as_bytes(found["margins"])
                    if write is not None:
                        write(found["probabilities"])
        else:
            labels = predictor(read.image)
    except (UserError, MemoryError) as error:
        seconds = read.seconds + time.perf_counter() - start
        return _failed(read.path, read.name, predictor.classes, error, seconds)
    seconds = time.perf_counter() - start
    clock.add_labelling(seconds, predictor.model_seconds - model_start)
    return _Found(read, labels, sure, tuple(outputs), read.seconds + seconds)


def _write(
    found: _Found, classes: Classes, folder: OutputFolder, draw: Draw, clock: StageClock
) -> Result:
    """Draw, encode and write what is made of an image.

    Raises:
        UserError: If a file cannot be written.
    """
    start = time.perf_counter()
    path, name, image, _, remarks = found.read
    try:
        with clock.measure("draw"), enough_memory():
            shares = class_shares(found.labels, len(classes))
            drawn = draw(Labelled(path, name, image, found.labels, found.margins, shares))
    except UserError as error:
        return _failed(path, name, classes, error, found.seconds + time.perf_counter() - start)
    with clock.measure("write"):
        outputs = [folder.write(each, encode()) for each, encode in drawn.files.items()]
    seconds = found.seconds + time.perf_counter() - start
    return Result(
        path, (*outputs, *found.outputs), shares, seconds, None, name, drawn.lines, remarks
    )


def _failed(path: Path, name: str, classes: Classes, error: Exception, seconds: float) -> Result:
    reason = str(error) or "does not fit into memory"
    problem = reason if str(path) in reason else f"{path}: {reason}"
    return Result(path, (), np.zeros(len(classes)), seconds, problem, name)


def _done(result: Result) -> Future[Result]:
    """A result that nothing is left to be done for."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future
