"""What is written of a labelled image: pictures, numbers, and what labelling tools read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.drawing import encode_jpeg, label_png, overlay_with_legend, palette_png
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.predicting.annotations.formats import (
    SET_FILES,
    LabelledImage,
    SetFormat,
    labelme_json,
)

Ids = Literal["index", "source"]
"""What a label file holds: class indices, or the mask values of the user's own data set."""

Save = Literal[
    "overlay",
    "color",
    "label",
    "probabilities",
    "margins",
    "labelme",
    "coco",
    "coco-polygons",
    "cvat",
    "label-studio",
]
"""What can be written: of each image, or (the last four) of all images in one file."""

DEFAULT_SAVE: tuple[Save, ...] = ("overlay", "color", "label")

PROBABILITIES_ENDING = "_probabilities.npz"
"""Of the one file that is written while the image is labelled."""
IMAGE_ENDING = "_photo.jpg"

_ENDINGS: dict[Save, str] = {
    "overlay": "_overlay.jpg",
    "color": "_color.png",
    "label": "_label.png",
    "probabilities": PROBABILITIES_ENDING,
    "margins": "_margins.png",
    "labelme": ".json",
}


class Labelled(NamedTuple):
    """An image, and what the model said of it."""

    path: Path
    name: str
    """Of its files, without their endings."""
    image: UInt8[ndarray, "height width 3"]
    labels: UInt[ndarray, "height width"]
    margins: UInt8[ndarray, "height width"] | None
    """0 for a tie of the two most probable classes, 255 for certainty; none if not asked for."""
    shares: Float[ndarray, " classes"]


class Drawn(NamedTuple):
    """What is to be written of an image."""

    files: dict[str, Callable[[], bytes]]
    """By name, what encodes each."""
    lines: dict[SetFormat, str]
    """What files that tell of all images say of this one."""


Draw = Callable[[Labelled], Drawn]


@dataclass(frozen=True)
class ImageOutputs:
    """Which files are made of each image."""

    classes: Classes
    root: Path
    """Where they are written."""
    save: tuple[Save, ...] = DEFAULT_SAVE
    opacity: float = 0.5
    """Of the colours in the overlay: 0 shows the image alone, 1 the colours alone."""
    ids: Ids = "index"
    """What NAME_label.png holds."""
    copies_image: bool = False
    """Whether the image is written too, as a page shows it."""

    def __post_init__(self) -> None:
        """Refuse an opacity that cannot be."""
        if not 0 <= self.opacity <= 1:
            raise UserError(
                f"opacity must be from 0 (image alone) to 1 (colours alone), got {self.opacity}"
            )

    @property
    def set_formats(self) -> tuple[SetFormat, ...]:
        """The files wanted that tell of all images."""
        return tuple(each for each in SET_FILES if each in self.save)

    @property
    def set_names(self) -> list[str]:
        """The names of these files."""
        return [SET_FILES[each].name for each in self.set_formats]

    def names(self, name: str) -> list[str]:
        """The files of an image."""
        endings = [_ENDINGS[each] for each in self.save if each in _ENDINGS]
        return [name + ending for ending in endings + [IMAGE_ENDING] * self.copies_image]

    def draw(self, labelled: Labelled) -> Drawn:
        """Draw what is drawn, and leave the encoding for later."""
        labels, classes = labelled.labels, self.classes
        named = LabelledImage(labelled.name + labelled.path.suffix, labels)
        files: dict[str, Callable[[], bytes]] = {}
        for each in self.save:
            name = labelled.name + _ENDINGS.get(each, "")
            if each == "overlay":
                drawn = overlay_with_legend(
                    labelled.image, labels, classes, shares=labelled.shares, opacity=self.opacity
                )
                files[name] = partial(encode_jpeg, drawn)
            elif each == "color":
                files[name] = partial(palette_png, labels, classes.colors, classes.ignore_index)
            elif each == "label":
                values = source_ids(labels, classes) if self.ids == "source" else labels
                files[name] = partial(label_png, values)
            elif each == "margins" and labelled.margins is not None:
                files[name] = partial(label_png, labelled.margins)
            elif each == "labelme":
                beside = _relative(labelled.path, (self.root / name).parent)
                files[name] = partial(labelme_json, named._replace(name=beside), classes)
        if self.copies_image:
            files[labelled.name + IMAGE_ENDING] = partial(encode_jpeg, labelled.image)
        lines: dict[SetFormat, str] = {
            each: SET_FILES[each].line(named, classes) for each in self.set_formats
        }
        return Drawn(files, lines)


def parse_save(text: str | None) -> tuple[Save, ...]:
    """Read what is to be written, such as `label,coco`; none: what is written unless told.

    Raises:
        UserError: If a word is not known, or there is none.
    """
    if text is None:
        return DEFAULT_SAVE
    known = {str(each): each for each in get_args(Save)}
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UserError(
                f"--save {word!r} is not known{nearest(word, [*known])}; choose from "
                f"{', '.join(known)}, with commas between them"
            )
    if not words:
        raise UserError(f"--save names nothing; choose from {', '.join(known)}")
    return tuple(each for each in known.values() if each in words)


def source_ids(
    labels: UInt[ndarray, "height width"], classes: Classes
) -> UInt[ndarray, "height width"] | UInt8[ndarray, "height width 3"]:
    """Write class indices back as the mask values of the user's own data set.

    Grey values become uint8, or uint16 if one is above 255; colours become RGB.
    """
    values = np.array(classes.source_values)
    fits_byte = classes.is_rgb or values.max() <= 255
    return np.take(values.astype(np.uint8 if fits_byte else np.uint16), labels, axis=0)


def as_bytes(shares: Float[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    """Numbers of 0 to 1 as 0 to 255, rounded."""
    return np.rint(shares * 255).astype(np.uint8)


@contextmanager
def probabilities_file(
    path: Path, size: tuple[int, int], classes: Classes
) -> Iterator[Callable[[Float[ndarray, "classes rows width"]], None]]:
    """A new `.npz` of the probabilities of an image, written from top to bottom.

    `probabilities` is uint8 (height, width, classes): 255 times the probability, rounded. `classes`
    are their names.

    Args:
        path: The file.
        size: Height and width of the image.
        classes: Their names.

    Returns:
        What takes the next rows.
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


def _relative(path: Path, folder: Path) -> str:
    """An image as seen from a folder, with `/`."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()
