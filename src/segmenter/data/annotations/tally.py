"""Count what is met while shapes are painted, and tell the user what matters of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.rasterise import Painted
from segmenter.data.annotations.regions import Polygon, Shape

_ALMOST = 0.05
"""Pixels by which whole coordinates may be off, where a file gives five digits of a share."""


@dataclass
class Tally:
    """Counts over all images of an export."""

    num_images: int = 0
    num_pixels: int = 0
    overlapping: Counter[Path] = field(default_factory=Counter)
    """Pixels by image."""
    cut: Counter[Path] = field(default_factory=Counter)
    """Shapes by image."""
    empty: Counter[Path] = field(default_factory=Counter)
    """Shapes by image."""
    may_be_centres: bool = True
    """True: all coordinates of polygons are whole numbers below width and height."""
    ends_before_border: bool = False
    """True: some coordinates are the last before width or height, where the centres of the last
    pixels lie."""

    def add(self, image: Path, shapes: Sequence[Shape], painted: Painted) -> None:
        """Count what is met in one image."""
        size: Size = (painted.labels.shape[0], painted.labels.shape[1])
        self.num_images += 1
        self.num_pixels += painted.labels.size
        for counter, found in (
            (self.overlapping, painted.num_overlapping),
            (self.cut, painted.num_cut),
            (self.empty, painted.num_empty),
        ):
            if found:
                counter[image] += found
        for shape in shapes:
            if self.may_be_centres and isinstance(shape.region, Polygon):
                self._look_at(shape.region, size)

    def _look_at(self, polygon: Polygon, size: Size) -> None:
        last = np.array([size[1] - 1, size[0] - 1])
        for ring in polygon.rings:
            is_whole = np.abs(ring - np.round(ring)).max() < _ALMOST
            past = (ring - last).max()
            if polygon.has_centres or not is_whole or past > _ALMOST:
                self.may_be_centres = False
                return
            self.ends_before_border |= bool(past > -_ALMOST)

    def remarks(self) -> list[str]:
        """Return a line for each thing to know."""
        share = 100 * self.overlapping.total() / max(self.num_pixels, 1)
        remarks = [
            f"in {len(counter)} of {self.num_images} images, such as {min(counter)}: {what}"
            for counter, what in (
                (
                    self.overlapping,
                    f"shapes of different classes overlap at {self.overlapping.total()} pixels "
                    f"({share:.2g} %); the one on top counts: by the order of the export, else the "
                    "smaller",
                ),
                (
                    self.cut,
                    f"{self.cut.total()} shapes reach out of the image, and are cut at its border",
                ),
                (self.empty, f"{self.empty.total()} shapes cover no pixel of the image"),
            )
            if counter
        ]
        if self.may_be_centres and self.ends_before_border:
            remarks.append(
                "coordinates of polygons are whole and end a pixel before the border, as OpenCV's "
                "contours do: if they are centres of pixels, make the data set again with "
                "--outlines centres"
            )
        return remarks
