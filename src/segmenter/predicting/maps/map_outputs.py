"""The files that `segmenter predict` writes for a map: a table with a row for each format."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.inference.labels import Quantity
from segmenter.label_files.annotations.annotation_files import SET_FORMATS
from segmenter.label_files.image_outputs import IMAGE_FORMATS, parse_save
from segmenter.options import MapOptions


class MapFormat(NamedTuple):
    """A file that is written for each map: a row of `MAP_FORMATS`."""

    ending: str
    """Ending of the file, after the map's name."""
    quantity: Quantity | None = None
    """Values of a raster; None: polygons."""


MAP_FORMATS: dict[str, MapFormat] = {
    "label": MapFormat("_label.tif", "labels"),
    "confidence": MapFormat("_confidence.tif", "confidence"),
    "probabilities": MapFormat("_probabilities.tif", "probabilities"),
    "gpkg": MapFormat(".gpkg"),
    "geojson": MapFormat(".geojson"),
}

_QUANTITIES: tuple[Quantity, ...] = ("labels", "confidence", "probabilities")


@dataclass(frozen=True)
class MapOutputs:
    """The files to write of each map.

    Raises:
        UserError: If a number is not in its range, or concerns polygons and none are written.
    """

    save: tuple[str, ...] = ("label",)
    """Names of `MAP_FORMATS`."""
    cog: bool = False
    """Rasters are cloud-optimised GeoTIFFs."""
    min_area: float = 0.0
    """Area in square metres of the smallest polygons."""
    tolerance: float = 0.0
    """Tolerance of simplification, in pixels."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for flag, number in (("min-area", self.min_area), ("simplify", self.tolerance)):
            if not (math.isfinite(number) and number >= 0):
                raise UserError(f"--{flag} must be 0 or more, got {number}")
            if number and not self.has_polygons:
                raise UserError(f"--{flag} concerns polygons; add gpkg or geojson to --save")

    @property
    def has_polygons(self) -> bool:
        """True: one of the files holds polygons."""
        return any(MAP_FORMATS[each].quantity is None for each in self.save)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Quantities to compute: those of the rasters, and what polygons state."""
        found = {MAP_FORMATS[each].quantity for each in self.save} | {"labels"}
        if self.has_polygons:
            found.add("confidence")
        return tuple(each for each in _QUANTITIES if each in found)

    def names(self, name: str) -> list[str]:
        """Return the file names of a map."""
        return [name + MAP_FORMATS[each].ending for each in self.save]


class SavedFormats(NamedTuple):
    """Names that `--save` accepts for maps."""

    images: tuple[str, ...]
    """Names of `IMAGE_FORMATS` and `SET_FORMATS`; empty: only formats of maps are named."""
    maps: tuple[str, ...]
    """Names of `MAP_FORMATS`; empty: only formats of images are named."""


def parse_all_saves(text: str | None) -> SavedFormats:
    """Return the formats of images and of maps that a text such as `label,gpkg` names.

    Raises:
        UserError: If a name is not known, or there is none.
    """
    if text is None:
        return SavedFormats(parse_save(None), MapOutputs.save)
    known = list(dict.fromkeys([*IMAGE_FORMATS, *SET_FORMATS, *MAP_FORMATS]))
    words = [word.strip() for word in text.split(",") if word.strip()]
    wrong = next((word for word in words if word not in known), None)
    if wrong is not None:
        raise UserError(
            f"--save {wrong!r} is not known{nearest(wrong, known)}; choose from "
            f"{', '.join(known)}, with commas between them"
        )
    of_images = [word for word in words if word in IMAGE_FORMATS or word in SET_FORMATS]
    of_maps = tuple(each for each in MAP_FORMATS if each in words)
    images = parse_save(",".join(of_images)) if of_images or not of_maps else ()
    return SavedFormats(images, of_maps)


def map_outputs(save: tuple[str, ...], options: MapOptions) -> MapOutputs:
    """Return the files to write of each map.

    Raises:
        UserError: As `MapOutputs`.
    """
    return MapOutputs(save, options.cog, options.min_area, options.simplify)
