"""Regions of an image as annotation tools hold them; each draws itself into pixels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from segmenter.data.annotations.polygons import (
    NOTHING,
    Patch,
    Ring,
    Size,
    fill_as_opencv,
    fill_between_edges,
    fill_through_centres,
    tight,
    united,
)
from segmenter.data.annotations.rle import fill_runs, unpack_runs

MAX_COORDINATE = 1 << 20
"""Farther out no image reaches."""
_TOLERANCE = 1.0
"""Pixels that an outline may lie outside of its image, by rounding, without being reported."""
_ELLIPSE_CORNERS = 180


@runtime_checkable
class Region(Protocol):
    """A part of an image."""

    def draw(self, size: Size) -> Patch:
        """Return its pixels in an image of this height and width.

        Raises:
            ValueError: If it belongs to an image of another size.
        """
        ...


@dataclass(frozen=True)
class Polygon:
    """All that lies in any of some rings, by the even-odd rule in each."""

    rings: tuple[Ring, ...]
    """Coordinates are edges of pixels: the first pixel reaches from 0 to 1."""
    has_centres: bool = False
    """True: they are centres instead, as OpenCV's contours have them."""
    is_even_odd: bool = False
    """True: a ring within another is a hole; what lies in an even number of rings is out."""

    def draw(self, size: Size) -> Patch:
        """Fill it as COCO's own code does; of centres, with the pixels on the outline."""
        if self.has_centres:
            patches = [fill_through_centres(np.round(ring), size) for ring in self.rings]
        else:
            patches = [fill_between_edges(ring, size) for ring in self.rings]
        patch = united(patches, size, is_even_odd=self.is_even_odd)
        return patch._replace(is_cut=any(_reaches_out(ring, size) for ring in self.rings))


@dataclass(frozen=True)
class DrawnPolygon:
    """A ring with the pixels on its outline, as Pillow draws it."""

    ring: Ring
    """Coordinates are centres of pixels: the first pixel lies at 0."""

    def draw(self, size: Size) -> Patch:
        """Fill it as Pillow does."""
        patch = fill_through_centres(self.ring, size)
        return patch._replace(is_cut=_reaches_out(self.ring, size))


@dataclass(frozen=True)
class PaintedPolygon:
    """A ring with the pixels on its outline, without its holes, as OpenCV draws it."""

    ring: Ring
    """Coordinates are centres of pixels: the first pixel lies at 0."""
    holes: tuple[Ring, ...] = ()
    """Their outlines are part of them."""

    def draw(self, size: Size) -> Patch:
        """Fill it as OpenCV does; then take the holes out."""
        patch = fill_as_opencv(self.ring, size)
        mask = patch.mask.copy()
        for hole in self.holes:
            inner, left, top, _ = fill_as_opencv(hole, size)
            canvas = np.zeros(size, dtype=bool)
            canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
            height, width = mask.shape
            mask &= ~canvas[patch.top : patch.top + height, patch.left : patch.left + width]
        return Patch(mask, patch.left, patch.top, _reaches_out(self.ring, size))


@dataclass(frozen=True)
class DrawnEllipse:
    """An upright ellipse, with the pixels on its outline."""

    corners: Ring
    """Corners of the rectangle around it; coordinates are centres of pixels."""

    def draw(self, size: Size) -> Patch:
        """Fill it as Pillow does."""
        patch = fill_through_centres(self.corners, size, is_ellipse=True)
        return patch._replace(is_cut=_reaches_out(self.corners, size))


@dataclass(frozen=True)
class Runs:
    """Lengths of alternating runs outside and inside, outside first."""

    lengths: Sequence[int] | str
    """Numbers, or COCO's text of them."""
    box: Size
    """Height and width of what they cover."""
    left: int = 0
    top: int = 0
    by_column: bool = True
    """True: they go down the columns; False: along the rows."""
    is_whole: bool = True
    """True: the box must be the whole image."""

    def draw(self, size: Size) -> Patch:
        """Unpack them."""
        if self.is_whole and self.box != size:
            raise ValueError(
                f"run lengths of {self.box[0]} x {self.box[1]} pixels (height x width) in an image "
                f"of {size[0]} x {size[1]}"
            )
        _check_box(self.box, size)
        mask = fill_runs(self._numbers(), self.box, by_column=self.by_column)
        return _cropped(mask, self.left, self.top, size)

    def _numbers(self) -> Int64[ndarray, " runs"]:
        if isinstance(self.lengths, str):
            return unpack_runs(self.lengths)
        numbers = np.asarray(self.lengths, dtype=np.int64).reshape(-1)
        if (numbers > 1 << 40).any():
            raise ValueError("a run length that no image has")
        return numbers


@dataclass(frozen=True)
class Bitmap:
    """Pixels, as they are."""

    pixels: Bool[ndarray, "box_height box_width"]
    left: int = 0
    top: int = 0

    def draw(self, size: Size) -> Patch:
        """Cut off what lies outside."""
        return _cropped(self.pixels, self.left, self.top, size)


def cut_out(mask: Bool[ndarray, "height width"]) -> Bitmap:
    """Return the pixels of a mask of the whole image, in memory for their smallest box only."""
    pixels, left, top, _ = tight(Patch(mask))
    return Bitmap(pixels, left, top)


def unsupported(kind: str, known: Iterable[str]) -> ValueError:
    """Return the error for a shape that is not supported.

    Args:
        kind: What the export calls it.
        known: The kinds that are supported.
    """
    return ValueError(
        f"a {kind} is not supported; {', '.join(known)} are: draw it as one of these, or remove it"
    )


def painted_as_areas(kinds: Mapping[str, int], *names: str) -> list[str]:
    """Return a remark on shapes that stand for something of another form.

    Args:
        kinds: How many shapes there are of each kind.
        names: Kinds to remark on.
    """
    found = [f"{kinds[name]} of the kind {name}" for name in names if kinds[name]]
    return [f"{' and '.join(found)} are painted as areas"] if found else []


@dataclass(frozen=True)
class Shape:
    """A region that has a class."""

    label: str
    """Name of the class."""
    region: Region
    where: str
    """The file and the entry, for messages."""
    order: int = 0
    """Shapes of a higher order lie over others; of equal ones, the smaller."""

    def with_centres(self) -> "Shape":
        """Return the shape whose polygon, if it is one of edges, has centres of pixels instead."""
        if not isinstance(self.region, Polygon):
            return self
        return replace(self, region=replace(self.region, has_centres=True))


def as_ring(numbers: Sequence[float], scale: tuple[float, float] = (1.0, 1.0)) -> Ring:
    """Return a ring of x, y, x, y ...

    Args:
        numbers: Coordinates.
        scale: Width and height to multiply them with.

    Raises:
        ValueError: If they are not a polygon.
    """
    if len(numbers) % 2:
        raise ValueError(f"a polygon of {len(numbers)} numbers; they are x, y, x, y and so on")
    if len(numbers) < 6:
        corners = len(numbers) // 2
        raise ValueError(
            f"a polygon of {corners} {'corner' if corners == 1 else 'corners'}, and it takes "
            "three; finish it or remove it"
        )
    ring = np.array(numbers, dtype=np.float64).reshape(-1, 2) * scale
    if not np.isfinite(ring).all() or (np.abs(ring) > MAX_COORDINATE).any():
        far = float(np.nan_to_num(np.abs(ring), nan=math.inf).max())
        raise ValueError(f"a coordinate of {far:.6g} pixels; at most {MAX_COORDINATE} are read")
    return ring


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    """Return the corners of a rectangle as x, y, x, y ..."""
    return [left, top, right, top, right, bottom, left, bottom]


def turned(numbers: Sequence[float], degrees: float, x: float, y: float) -> list[float]:
    """Turn points (x, y, x, y ...) clockwise around a point."""
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    moved = [(a - x, b - y) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    return [
        each for a, b in moved for each in (x + a * cosine - b * sine, y + a * sine + b * cosine)
    ]


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> list[float]:
    """Return an ellipse as a polygon of 180 corners: x, y, x, y ..."""
    angles = [2 * math.pi * step / _ELLIPSE_CORNERS for step in range(_ELLIPSE_CORNERS)]
    return [
        each
        for angle in angles
        for each in (x + radius_x * math.cos(angle), y + radius_y * math.sin(angle))
    ]


def _reaches_out(ring: Ring, size: Size) -> bool:
    height, width = size
    low, high = ring.min(axis=0), ring.max(axis=0)
    return bool(
        (low < -_TOLERANCE).any() or (high > [width + _TOLERANCE, height + _TOLERANCE]).any()
    )


def _check_box(box: Size, size: Size) -> None:
    """Refuse a box that is larger than any honest one, before memory is taken for it."""
    if min(box) < 0 or box[0] > 2 * size[0] + 1 or box[1] > 2 * size[1] + 1:
        raise ValueError(
            f"a mask of {box[0]} x {box[1]} pixels in an image of {size[0]} x {size[1]}"
        )


def _cropped(mask: Bool[ndarray, "height width"], left: int, top: int, size: Size) -> Patch:
    """Place a mask in its image and cut off what lies outside."""
    height, width = mask.shape
    _check_box((height, width), size)
    above, before = max(-top, 0), max(-left, 0)
    inner = mask[above : max(size[0] - top, 0), before : max(size[1] - left, 0)]
    patch = tight(Patch(inner, max(left, 0), max(top, 0))) if inner.size else NOTHING
    is_cut = inner.shape != mask.shape and bool(mask.sum() != patch.mask.sum())
    return patch._replace(is_cut=is_cut)
