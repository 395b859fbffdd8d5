"""The files that `segmenter predict` writes for an image: a table with a row for each format."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from jaxtyping import Float, Shaped, UInt, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.drawing import (
    color_table,
    encode_jpeg,
    indexed_png,
    label_map_png,
    label_png,
    overlay,
    overlay_with_legend,
    palette_png,
)
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.label_files.annotations.annotation_files import SET_FORMATS, SetFormat, labelme_json
from segmenter.options import Ids

Needs = Literal["labels", "margins", "probabilities"]
"""Input of a format."""

Encode = Callable[[], bytes]
"""Returns the bytes of a file."""

Stream = AbstractContextManager[Callable[[Float[ndarray, "classes rows width"]], None]]
"""Opens a file, and yields a function that appends rows of probabilities to it."""


@dataclass
class PredictedImage:
    """An image between reading and writing; the model fills `found` and `shares`."""

    path: Path
    name: str
    """Name of its output files, without their endings."""
    pixels: UInt8[ndarray, "height width 3"] = field(
        default_factory=lambda: np.empty((0, 0, 3), np.uint8)
    )
    """Its picture, in RGB."""
    channels: Shaped[ndarray, "height width channels"] = field(
        default_factory=lambda: np.empty((0, 0, 3), np.uint8)
    )
    """The model's input until it has run: the picture, or the channels of its `ImageSpec`."""
    remarks: tuple[str, ...] = ()
    """Remarks on how it was read; equal texts for equal cases."""
    found: dict[Needs, UInt[ndarray, "height width"]] = field(default_factory=dict)
    """`labels`, and `margins` if a format needs them: 0 for a tie of the two most probable classes,
    255 for certainty."""
    shares: Float[ndarray, " classes"] = field(default_factory=lambda: np.empty(0))
    """Share of each class in the pixels, 0 to 1."""
    outputs: tuple[Path, ...] = ()
    """Files already written."""
    seconds: float = 0.0
    """Time of the work on it, without waiting."""
    problem: str | None = None
    """Reason for which it could not be read or labelled."""

    @property
    def labels(self) -> UInt[ndarray, "height width"]:
        """The class index of each pixel."""
        return self.found["labels"]


class ImageFormat(NamedTuple):
    """A file that is written for each image: a row of `IMAGE_FORMATS`."""

    ending: str
    """Ending of the file, after the image's name."""
    encode: "Callable[[PredictedImage, ImageOutputs], Encode] | None" = None
    """Draws the file, and returns a function that encodes it, in any thread."""
    needs: Needs = "labels"
    stream: Callable[[Path, tuple[int, int], Classes], Stream] | None = None
    """In place of `encode`, for probabilities, which may not fit in memory: opens a file for an
    image of a given (height, width), and yields a function that appends (classes, rows, width)."""


@dataclass(frozen=True)
class ImageOutputs:
    """The files to write of each image.

    Raises:
        UserError: If the opacity is not from 0 to 1.
    """

    classes: Classes
    root: Path
    """Folder to write to."""
    save: tuple[str, ...] = ("overlay", "label")
    """Names of `IMAGE_FORMATS` and `SET_FORMATS`."""
    opacity: float = 0.5
    """Opacity of the colours in the overlay: 0 shows the image alone, 1 the colours alone."""
    ids: Ids = "index"
    """Values of NAME_label.png; see `options.ImageOutput`."""
    also: tuple[ImageFormat, ...] = ()
    """Further formats, which `--save` does not offer."""

    def __post_init__(self) -> None:
        """Check the opacity."""
        if not 0 <= self.opacity <= 1:
            raise UserError(
                f"opacity must be from 0 (image alone) to 1 (colours alone), got {self.opacity}"
            )

    @property
    def formats(self) -> list[ImageFormat]:
        """Formats with a file for each image."""
        return [*(IMAGE_FORMATS[each] for each in self.save if each in IMAGE_FORMATS), *self.also]

    @property
    def set_formats(self) -> dict[str, SetFormat]:
        """Formats with one file for all images, by name."""
        return {each: SET_FORMATS[each] for each in self.save if each in SET_FORMATS}

    @property
    def needs(self) -> set[Needs]:
        """Inputs of all formats; labels are always among them."""
        return {"labels", *(each.needs for each in self.formats)}

    def names(self, name: str) -> list[str]:
        """Return the file names of an image."""
        return [name + each.ending for each in self.formats]

    def draw(self, image: PredictedImage) -> dict[str, Encode]:
        """Draw an image's files; return the function that encodes each, by file name."""
        return {
            image.name + each.ending: each.encode(image, self)
            for each in self.formats
            if each.encode is not None
        }

    def lines(self, image: PredictedImage) -> dict[str, str]:
        """Return this image's line in each file of all images, by the name of the format."""
        name = image.name + image.path.suffix
        return {
            each: format.line(name, image.labels, self.classes)
            for each, format in self.set_formats.items()
        }


def parse_save(text: str | None) -> tuple[str, ...]:
    """Return the formats that a text such as `label,coco` names, in the order of the table.

    Args:
        text: Names of `IMAGE_FORMATS` and `SET_FORMATS`; if None, overlays and label maps.

    Raises:
        UserError: If a name is not known, or there is none.
    """
    if text is None:
        return ImageOutputs.save
    known = [*IMAGE_FORMATS, *SET_FORMATS]
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UserError(
                f"--save {word!r} is not known{nearest(word, known)}; choose from "
                f"{', '.join(known)}, with commas between them"
            )
    if not words:
        raise UserError(f"--save names nothing; choose from {', '.join(known)}")
    return tuple(each for each in known if each in words)


def source_ids(
    labels: UInt[ndarray, "height width"], classes: Classes
) -> UInt[ndarray, "height width"] | UInt8[ndarray, "height width 3"]:
    """Map class indices to the mask values of the user's own data set.

    Grey values become uint8, or uint16 if one is above 255; colours become RGB.
    """
    values = np.array(classes.source_values)
    fits_byte = classes.is_rgb or values.max() <= 255
    return np.take(values.astype(np.uint8 if fits_byte else np.uint16), labels, axis=0)


def encode_labels(labels: UInt[ndarray, "height width"], classes: Classes, ids: Ids) -> bytes:
    """Encode a label map as the PNG that `ids` asks for.

    Values of 8 bits have the colours of the classes as their palette, so that viewers show them.
    """
    if ids == "index":
        return label_map_png(labels, classes.colors, classes.ignore_index)
    values = source_ids(labels, classes)
    if values.ndim == 3 or values.dtype != np.uint8:
        return label_png(values)
    table = color_table(classes.colors, np.array(classes.source_values).tolist(), 255)
    return indexed_png(values, table)


def as_bytes(shares: Float[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    """Scale numbers of 0 to 1 to 0 to 255, rounded."""
    return np.rint(shares * 255).astype(np.uint8)


@contextmanager
def probabilities_file(
    path: Path, size: tuple[int, int], classes: Classes
) -> Iterator[Callable[[Float[ndarray, "classes rows width"]], None]]:
    """Open a new `.npz` for the probabilities of an image, written from top to bottom.

    `probabilities` is uint8 (height, width, classes): 255 times the probability, rounded. `classes`
    are their names.

    Args:
        path: The file.
        size: Height and width of the image.
        classes: Their names.

    Returns:
        A function that appends rows.
    """
    shape = (*size, len(classes))
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("classes.npy", "w") as member:
            np.lib.format.write_array(member, np.array(classes.names), allow_pickle=False)
        with archive.open("probabilities.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)

            def write(rows: Float[ndarray, "classes rows width"]) -> None:
                member.write(as_bytes(np.moveaxis(rows, 0, -1)).tobytes())

            yield write


def _overlay(image: PredictedImage, outputs: ImageOutputs) -> Encode:
    drawn = overlay_with_legend(
        image.pixels,
        image.labels,
        outputs.classes,
        shares=image.shares,
        opacity=outputs.opacity,
    )
    return partial(encode_jpeg, drawn)


def _color(image: PredictedImage, outputs: ImageOutputs) -> Encode:
    classes = outputs.classes
    return partial(palette_png, image.labels, classes.colors, classes.ignore_index)


def _label(image: PredictedImage, outputs: ImageOutputs) -> Encode:
    return partial(encode_labels, image.labels, outputs.classes, outputs.ids)


def _source_ids(image: PredictedImage, outputs: ImageOutputs) -> Encode:
    return partial(label_png, source_ids(image.labels, outputs.classes))


def _margins(image: PredictedImage, _: ImageOutputs) -> Encode:
    return partial(label_png, image.found["margins"])


def _labelme(image: PredictedImage, outputs: ImageOutputs) -> Encode:
    """Name the image relative to the folder of the file, with `/`."""
    folder = (outputs.root / image.name).parent
    try:
        name = Path(os.path.relpath(image.path, folder)).as_posix()
    except ValueError:  # another drive
        name = image.path.absolute().as_posix()
    return partial(labelme_json, name, image.labels, outputs.classes)


def _classes_alone(image: PredictedImage, outputs: ImageOutputs) -> Encode:
    classes = outputs.classes
    background = classes.background_index
    drawn = overlay(image.pixels, image.labels, classes.colors, outputs.opacity, background)
    return partial(encode_jpeg, drawn)


def _image(image: PredictedImage, _: ImageOutputs) -> Encode:
    return partial(encode_jpeg, image.pixels)


IMAGE_FORMATS: dict[str, ImageFormat] = {
    "overlay": ImageFormat("_overlay.jpg", _overlay),
    "color": ImageFormat("_color.png", _color),
    "label": ImageFormat("_label.png", _label),
    "probabilities": ImageFormat(
        "_probabilities.npz", needs="probabilities", stream=probabilities_file
    ),
    "margins": ImageFormat("_margins.png", _margins, needs="margins"),
    "labelme": ImageFormat(".json", _labelme),
}
IMAGE_COPY = ImageFormat("_photo.jpg", _image)
"""The image itself, for the gallery."""
PLAIN_OVERLAY = ImageFormat("_classes.jpg", _classes_alone, needs="margins")
"""The image under its classes without a legend, for the gallery, which says how sure they are."""
SOURCE_IDS = ImageFormat(".png", _source_ids)
"""Mask values as numbers alone, without a palette, as servers of benchmarks read them."""
