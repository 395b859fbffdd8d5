"""Label images on disk: while the model looks at one, the next are read and the last are written.

Reading, and drawing, encoding and writing, run in threads of their own, since the libraries that do
the work let others run meanwhile. What waits between them is bounded, results come in the order of
the images, and the files are the same as if everything were done one after the other.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.data.decoding.decode import DecodedImage, read_image
from segmenter.data.pairing.find_images import is_usable_name
from segmenter.data.prefetch import prefetch
from segmenter.drawing import class_shares
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.image_spec import shown_pixels
from segmenter.inference.enough_memory import enough_memory
from segmenter.inference.predictor import Predictor
from segmenter.label_files.image_outputs import (
    PLAIN_OVERLAY,
    Encode,
    ImageOutputs,
    PredictedImage,
    as_bytes,
)
from segmenter.pages import label_map_uri
from segmenter.predicting.profiling import StageClock, num_cpus
from segmenter.predicting.sureness import Sureness, measure_sureness

_MAX_READERS = 4
_MAX_WRITERS = 8
_WAITING_PIXELS = 100_000_000
"""Pixels of images that wait to be predicted, or to be written: of large images, fewer wait."""


class ImageView(NamedTuple):
    """An image as the gallery shows it."""

    size: tuple[int, int]
    """Height and width, in pixels."""
    sureness: Sureness
    label_map: str
    """A small label map, as a link; see `pages.label_map_uri`."""


@dataclass(frozen=True)
class Result:
    """Outcome of one image, or of one video."""

    path: Path
    outputs: tuple[Path, ...]
    """The files written; none if the image could not be labelled."""
    shares: Float[ndarray, " classes"]
    """Share of each class in the pixels, 0 to 1; zeros if the image could not be labelled."""
    seconds: float
    """Time of the work on it: reading, labelling and writing, without waiting in between."""
    problem: str | None = None
    """Reason for which the image could not be labelled."""
    name: str = ""
    """Name of its files, without their endings."""
    lines: dict[str, str] = field(default_factory=dict)
    """Entries of this image for the files that cover all images."""
    remarks: tuple[str, ...] = ()
    """Remarks on the way it was read; equal words for equal cases."""
    num_frames: int = 0
    """Frames of a video that were labelled and written, also before a `problem`."""
    view: ImageView | None = None
    """View in the gallery; None if none is written."""


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
        predictor: What labels them; its model must take image files.
        images: Images and their names; see `find_images`.
        folder: Where files are written.
        outputs: Which; None: overlay, colours and label ids.
        clock: Records the time of each stage.

    Returns:
        One result an image, in their order, made as it is asked for.

    Raises:
        UserError: At once, if an option or a file in the way makes the run impossible; later, if
            a file cannot be written.
    """
    outputs = outputs or ImageOutputs(predictor.classes, folder.root)
    predictor.spec.require_files()
    names = (each for _, name in images if is_usable_name(name) for each in outputs.names(name))
    of_all = (each.file_name for each in outputs.set_formats.values())
    folder.check(chain(names, of_all))
    return label_images(predictor, images, folder, outputs, clock)


def label_images(
    predictor: Predictor,
    images: Iterable[tuple[Path, str]],
    folder: OutputFolder,
    outputs: ImageOutputs,
    clock: StageClock | None = None,
) -> Iterator[Result]:
    """Label any number of images, and write the files of each; see `predict_files`.

    Whoever stops asking, or is interrupted, waits only for files that are being written.

    Args:
        predictor: What labels them.
        images: With their names; asked for a few at a time.
        folder: Where files are written.
        outputs: Which files.
        clock: Records the time of each stage.
    """
    clock = clock or StageClock()
    num_readers = min(num_cpus(), _MAX_READERS)
    num_writers = min(num_cpus(), _MAX_WRITERS)
    room = num_readers + 1
    written: deque[Future[Result]] = deque()
    with ExitStack() as stack:
        writers = ThreadPoolExecutor(num_writers, "write")
        stack.callback(writers.shutdown, cancel_futures=True)
        reading = prefetch(
            partial(_read, predictor, clock),
            images,
            lambda: min(num_readers, room - 1),
            threads=num_readers,
        )
        for image in stack.enter_context(closing(reading)):
            _label(predictor, image, folder, outputs, clock)
            if image.problem is None:
                room = max(1, _WAITING_PIXELS // max(image.labels.size, 1))
            written.append(writers.submit(_write, image, folder, outputs, clock))
            while written and (written[0].done() or len(written) > min(num_writers, room)):
                yield written.popleft().result()
        while written:
            yield written.popleft().result()


@contextmanager
def _working_on(image: PredictedImage) -> Iterator[None]:
    """Count the time of a step; what cannot be read, labelled or drawn is the image's problem."""
    start = time.perf_counter()
    try:
        yield
    except (UserError, MemoryError) as error:
        reason = str(error) or "does not fit into memory"
        image.problem = reason if str(image.path) in reason else f"{image.path}: {reason}"
    finally:
        image.seconds += time.perf_counter() - start


def _read(predictor: Predictor, clock: StageClock, file: tuple[Path, str]) -> PredictedImage:
    """Decode an image, unless its results can have no name."""
    image = PredictedImage(*file)
    if not is_usable_name(image.name):
        image.problem = (
            f"{str(image.path)!r}: no result can have this name; shorten it, and omit backslashes, "
            "control characters and the names of drives"
        )
        return image
    with _working_on(image), clock.measure("decode"):
        wanted = predictor.spec.image
        decoded = read_image(image.path, image_bits=predictor.image_bits, image=wanted)
        image.channels, image.remarks = decoded.pixels, remarks_on(decoded)
        image.pixels = shown_pixels(decoded.pixels, wanted)
    return image


def remarks_on(image: DecodedImage) -> tuple[str, ...]:
    """Return what the user should know of how an image was read."""
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
    image: PredictedImage,
    folder: OutputFolder,
    outputs: ImageOutputs,
    clock: StageClock,
) -> None:
    """Run the model on an image; stream probabilities to the disk, since no memory holds all."""
    if image.problem is not None:
        return
    start, model_start = time.perf_counter(), predictor.model_seconds
    size = image.pixels.shape[:2]
    with _working_on(image), _streams(image, folder, outputs) as streams:
        image.found = {
            each: np.empty(size, predictor.classes.label_dtype if each == "labels" else np.uint8)
            for each in outputs.needs
            if each != "probabilities"
        }
        for rows, found in predictor.rows(image.channels, *outputs.needs):
            for each, whole in image.found.items():
                whole[rows] = found[each] if each == "labels" else as_bytes(found[each])
            for write in streams:
                write(found["probabilities"])
    image.channels = image.pixels  # others are not needed any more
    if image.problem is None:
        seconds = time.perf_counter() - start
        clock.add_labelling(seconds, predictor.model_seconds - model_start)


@contextmanager
def _streams(
    image: PredictedImage, folder: OutputFolder, outputs: ImageOutputs
) -> Iterator[list[Callable[[ndarray], None]]]:
    """Open the files that are written while an image is labelled; yield what takes their rows."""
    height, width = image.pixels.shape[:2]
    with ExitStack() as stack:
        streams = []
        for each in outputs.formats:
            if each.stream is not None:
                path = stack.enter_context(folder.writing(image.name + each.ending))
                stream = each.stream(path, (height, width), outputs.classes)
                streams.append(stack.enter_context(stream))
                image.outputs += (folder.root / (image.name + each.ending),)
        yield streams


def _write(
    image: PredictedImage, folder: OutputFolder, outputs: ImageOutputs, clock: StageClock
) -> Result:
    """Draw, encode and write the files of an image.

    Raises:
        UserError: If a file cannot be written.
    """
    classes = outputs.classes
    files: dict[str, Encode] = {}
    lines: dict[str, str] = {}
    if image.problem is None:
        with _working_on(image), clock.measure("draw"), enough_memory():
            image.shares = class_shares(image.labels, len(classes))
            files, lines = outputs.draw(image), outputs.lines(image)
    if image.problem is not None:
        shares = np.zeros(len(classes))
        return Result(image.path, (), shares, image.seconds, image.problem, image.name)
    start = time.perf_counter()
    with clock.measure("write"):
        written = [folder.write(each, encode()) for each, encode in files.items()]
    return Result(
        image.path,
        (*written, *image.outputs),
        image.shares,
        image.seconds + time.perf_counter() - start,
        name=image.name,
        lines=lines,
        remarks=image.remarks,
        view=_view(image) if PLAIN_OVERLAY in outputs.also else None,
    )


def _view(image: PredictedImage) -> ImageView:
    height, width = image.labels.shape
    sureness = measure_sureness(image.labels, image.found["margins"])
    return ImageView((height, width), sureness, label_map_uri(image.labels))
