"""A labelled image, with what can be made of it: pictures, files, annotations."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray
from PIL import Image

from segmenter.calls import check_types
from segmenter.classes import Classes
from segmenter.drawing import (
    class_shares,
    encode_jpeg,
    overlay,
    overlay_with_legend,
    shown_classes,
    smaller_size,
)
from segmenter.errors import UserError
from segmenter.files.names import path_problem
from segmenter.files.outputs import OutputFolder
from segmenter.label_files.annotations.annotation_files import SET_FORMATS
from segmenter.label_files.annotations.outlines import Region, find_regions
from segmenter.label_files.image_outputs import (
    ImageOutputs,
    PredictedImage,
    as_bytes,
    parse_save,
)
from segmenter.options import Ids, ImageOutput
from segmenter.text import percent, visible

_MAX_SHOWN_SIDE = 800
"""Pixels of the picture that a notebook shows."""
_NUM_SHOWN_CLASSES = 5

_SAVE = {
    "folder": str | Path,
    "save": str | Sequence[str] | None,
    "opacity": float,
    "ids": Ids,
    "overwrite": bool,
}
"""Types of the arguments of `Segmentation.save`."""

FindProbabilities = Callable[
    [UInt8[ndarray, "height width 3"]], Float[ndarray, "classes height width"]
]
FindMargins = Callable[[UInt8[ndarray, "height width 3"]], Float[ndarray, "height width"]]


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """A labelled image: the result of `Predictor.segment`.

    As the last value of a cell, a notebook shows its overlay.

    Example:
        segmentation = Predictor("street").segment("photo.jpg")
        segmentation.shares["road"]  # 0.3: of the pixels
        segmentation.save("labels")  # labels/photo_overlay.jpg and photo_label.png
    """

    image: UInt8[ndarray, "height width 3"]
    """RGB, 0 to 255, upright."""
    labels: UInt[ndarray, "height width"]
    """The class index of each pixel: what `Predictor(image)` returns."""
    classes: Classes
    """Names and colours of the labels."""
    path: Path
    """The file of the image; `image.png` if it has none."""
    find_probabilities: FindProbabilities
    """Runs the model for `probabilities`."""
    find_margins: FindMargins
    """Runs the model for the format `margins` of `save`."""

    @cached_property
    def probabilities(self) -> Float[ndarray, "classes height width"]:
        """The probability of each class at each pixel, 0 to 1.

        The model runs again at the first access.

        Raises:
            UserError: If they do not fit into memory.
        """
        return self.find_probabilities(self.image)

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each class in the pixels, 0 to 1, by name, the largest first."""
        names, shares = self.classes.names, self._shares
        return {names[i]: float(shares[i]) for i in np.argsort(-shares, kind="stable")}

    def overlay(self, *, opacity: float = ImageOutput.opacity, legend: bool = True) -> Image.Image:
        """Draw the colours of the classes over the image.

        Args:
            opacity: Opacity of the colours, from 0 to 1.
            legend: Add the names and shares of the classes beside or below the image.

        Returns:
            A PIL image in RGB; `numpy.array` makes an array of it.

        Raises:
            UserError: If the opacity is not from 0 to 1.
        """
        check_types(
            "overlay", {"opacity": float, "legend": bool}, {"opacity": opacity, "legend": legend}
        )
        opacity = ImageOutputs(self.classes, Path(), opacity=opacity).opacity
        return Image.fromarray(self._drawn(self.image, self.labels, opacity, legend=legend))

    def save(
        self,
        folder: str | Path,
        *,
        save: str | Sequence[str] | None = None,
        opacity: float = ImageOutput.opacity,
        ids: Ids = ImageOutput.ids,
        overwrite: bool = ImageOutput.overwrite,
    ) -> list[Path]:
        """Write the files that `segmenter predict` writes for the image, under the same names.

        Formats of one file for a whole set, such as `coco`, hold this image alone: give each image
        a folder of its own.

        Args:
            folder: Folder to write to.
            save: What to write, as for `segmenter predict --save`: a list of names, or one text
                with commas. [default: overlay, label]
            opacity: Opacity of the colours in the overlay, from 0 to 1.
            ids: Values of the label map: class indices, or the mask values of `classes.yaml`.
            overwrite: Replace existing files of other content.

        Returns:
            The paths of the files.

        Raises:
            UserError: If an option is wrong or a file exists; nothing is written then. Or if a file
                cannot be written; the files before it stay then.
        """
        _check_save(folder=folder, save=save, opacity=opacity, ids=ids, overwrite=overwrite)
        if not self.labels.size:
            raise UserError(f"{self.path} has no pixels, so there is nothing to save")
        formats = parse_save(save if save is None or isinstance(save, str) else ",".join(save))
        outputs = ImageOutputs(self.classes, Path(folder), formats, opacity, ids)
        contents = self._contents(outputs)
        changed = {
            name: content
            for name, content in contents.items()
            if not _holds(outputs.root / name, content)
        }
        for path in (outputs.root / name for name in changed):
            if not overwrite and os.path.lexists(path):
                raise UserError(
                    f"{path} exists with another content; give another folder, or replace it with "
                    "overwrite=True"
                )
        target = OutputFolder(outputs.root, overwrite=overwrite)
        target.check(list(changed))
        for name, content in changed.items():
            target.write(name, content)
        return [outputs.root / name for name in contents]

    def to_coco(self, *, polygons: bool = False) -> dict[str, Any]:
        """Return the labels as a COCO data set of one image, ready for `json.dump`.

        Args:
            polygons: Outlines along the edges of pixels instead of run lengths.
        """
        return json.loads(self._in_one_file("coco-polygons" if polygons else "coco"))

    def polygons(self) -> dict[str, list[Region]]:
        """Return the outlines of the regions of each class that occurs, by name.

        A region has `outer`, and a list of `holes`: each an array (corners, 2) of x and y in
        pixels, from the upper left corner of the image, along the edges of the pixels.
        """
        present = self.classes.present(self.labels)
        return {self.classes.names[i]: find_regions(self.labels == i) for i in present}

    def __repr__(self) -> str:
        """Return size and largest classes in one line."""
        height, width = self.labels.shape
        names = [visible(name) for name in self.classes.names]
        shown = shown_classes(self._shares)[:_NUM_SHOWN_CLASSES]
        shares = ", ".join(f"{names[i]} {percent(self._shares[i], 1)} %" for i in shown)
        return f"Segmentation({visible(str(self.path))}, {height} x {width}: {shares})"

    def _repr_jpeg_(self) -> bytes | None:
        """Return the overlay that a notebook shows, small enough to be kept in it.

        None for an image without pixels, of which a notebook then shows the one line.
        """
        if not self.labels.size:
            return None
        size = smaller_size(self.image.shape, _MAX_SHOWN_SIDE)
        image = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(self.labels, size, interpolation=cv2.INTER_NEAREST)
        return encode_jpeg(self._drawn(image, labels, ImageOutput.opacity, legend=True))

    @cached_property
    def _shares(self) -> Float[ndarray, " classes"]:
        return class_shares(self.labels, len(self.classes))

    def _drawn(
        self,
        image: UInt8[ndarray, "height width 3"],
        labels: UInt[ndarray, "height width"],
        opacity: float,
        *,
        legend: bool,
    ) -> UInt8[ndarray, "drawn_height drawn_width 3"]:
        classes = self.classes
        if legend:
            return overlay_with_legend(image, labels, classes, shares=self._shares, opacity=opacity)
        return overlay(image, labels, classes.colors, opacity, classes.background_index)

    def _contents(self, outputs: ImageOutputs) -> dict[str, bytes]:
        """Return the content of each file to write, by name."""
        image = PredictedImage(self.path, self.path.stem, self.image, shares=self._shares)
        image.found["labels"] = self.labels
        if "margins" in outputs.needs:
            image.found["margins"] = as_bytes(self.find_margins(self.image))
        contents = {name: encode() for name, encode in outputs.draw(image).items()}
        height, width = self.labels.shape
        for each in outputs.formats:
            if each.stream is not None:
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "streamed"
                    with each.stream(path, (height, width), self.classes) as write:
                        write(self.probabilities)
                    contents[image.name + each.ending] = path.read_bytes()
        for name, each in outputs.set_formats.items():
            contents[each.file_name] = self._in_one_file(name)
        return contents

    def _in_one_file(self, name: str) -> bytes:
        """Return a file of `SET_FORMATS` with this image alone."""
        format = SET_FORMATS[name]
        line = format.line(self.path.name, self.labels, self.classes)

        def read_lines() -> Iterator[str]:
            yield line

        return "".join(format.parts(read_lines, self.classes)).encode(errors="backslashreplace")


def _check_save(**given: object) -> None:
    """Refuse arguments of `Segmentation.save` of a wrong type, and a folder that cannot be."""
    check_types("save", _SAVE, given)
    if problem := path_problem(str(given["folder"])):
        raise UserError(f"save: folder {problem}")


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file is there and has this content."""
    try:
        return path.is_file() and path.read_bytes() == content
    except OSError:
        return False
