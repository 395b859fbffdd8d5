"""Propose one of the presets of augmentation, where images and masks show which one suits.

Classes of images without an up lie anywhere: a class is as frequent in one part of the image as in
another, and borders run in all directions alike. Means over the images are compared with these
values. A claim needs its whole 95 % interval inside, or outside, a tolerance; else there is none.
docs/how-to/check.md has the rule.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from segmenter.extras.checking.item_inspection import Inspection, is_usable
from segmenter.recipe.augmentation import PresetName

_MIN_IMAGES = 10
"""Images that must show a class for it to count; without such a class, nothing is proposed."""
_EVERYWHERE = np.array([0.0, 0.0, 1 / 12, 1 / 12])
_PLACE_TOLERANCE = 0.08
"""Distance of a class's mean place from the middle that is ignored, as a share of the sides."""
_TOLERANCES = np.array([_PLACE_TOLERANCE, _PLACE_TOLERANCE, 0.03, 0.03])
"""The same for each of the means of `Layout.places`."""
_ANISOTROPY = 0.3
"""Tolerance of the logarithm: 35 % more borders in one direction."""
_ERRORS = 2.0
"""Standard errors to either side of a mean, for an interval of about 95 %."""
_COLOURED = 4.0
"""Colourfulness from which on an image is not grey; its JPEG file may tint grey a little."""
_PAPER = 0.5
"""Share of pixels from which on an image is mostly paper."""


class PresetProposal(NamedTuple):
    """A preset that suits the images, or None, and why."""

    preset: PresetName | None
    reason: str

    @property
    def line(self) -> str:
        """The proposal in one line."""
        if self.preset is None:
            return f"augment.preset: no proposal: {self.reason}"
        return f"augment.preset: {self.preset} may suit: {self.reason}"


def propose_preset(inspections: Sequence[Inspection], names: Sequence[str]) -> PresetProposal:
    """Propose a preset for the images of a split.

    Args:
        inspections: Inspections of its items; those that cannot be trained on do not count.
        names: Names of the classes.
    """
    usable = [each for each in inspections if is_usable(each)]
    layouts = [each.mask.layout for each in usable if each.mask and each.mask.layout]
    images = [each.image for each in usable if each.image]
    if min(len(layouts), len(images)) < _MIN_IMAGES:
        return PresetProposal(None, f"fewer than {_MIN_IMAGES} images with masks show too little")
    places = np.stack([each.places for each in layouts]) - _EVERYWHERE
    low, high, counts = _intervals(places)
    is_known = counts[:, 0] >= _MIN_IMAGES
    if is_known.sum() < 2:
        return PresetProposal(None, f"fewer than two classes are in {_MIN_IMAGES} masks")
    ends = _intervals(np.array([[each.anisotropy] for each in layouts]))
    lines_low, lines_high = float(ends[0][0]), float(ends[1][0])
    seen = _Seen(
        colour=float(np.median([each.colorfulness for each in images])),
        is_paper=bool(np.median([each.paper_share for each in images]) >= _PAPER),
        is_horizontal=lines_low > _ANISOTROPY,
        is_isotropic=lines_low > -_ANISOTROPY and lines_high < _ANISOTROPY,
        is_everywhere=bool(((low > -_TOLERANCES) & (high < _TOLERANCES))[is_known].all()),
        is_one_sided=_largest(low[:, 1], high[:, 1], is_known)
        >= _largest(low[:, 0], high[:, 0], is_known),
    )
    if not _largest(low[:, 0], high[:, 0], is_known):
        return _without_lean(seen)
    place = int(np.argmax(np.where(is_known, np.abs(low + high)[:, 0], 0)))
    where = "top" if high[place, 0] < 0 else "bottom"
    return _with_up(seen, f"{names[place]!r} lies towards the {where}, so images have an up")


class _Seen(NamedTuple):
    """Properties of images and masks, besides the classes that lie high or low."""

    colour: float
    is_paper: bool
    is_horizontal: bool
    """Borders are met on the way down more often than on the way right."""
    is_isotropic: bool
    is_everywhere: bool
    """Each class is as frequent in each part of the image."""
    is_one_sided: bool
    """A class lies towards the left or right, at least as far as any towards top or bottom."""


def _with_up(seen: _Seen, up: str) -> PresetProposal:
    if seen.is_paper:
        return PresetProposal("documents", f"{up}, and they are mostly bright and grey, as paper")
    if seen.is_one_sided:
        return PresetProposal(None, f"{up}, but a class keeps to the left or right, too")
    if seen.colour < _COLOURED:
        return PresetProposal(None, f"{up}, but they are grey")
    return PresetProposal("street", f"{up}; left and right differ less")


def _without_lean(seen: _Seen) -> PresetProposal:
    if seen.is_paper and seen.is_horizontal:
        reason = "images are mostly bright and grey, as paper, and most borders are horizontal"
        return PresetProposal("documents", reason)
    if not (seen.is_everywhere and seen.is_isotropic):
        return PresetProposal(None, "the masks do not show whether images have an up")
    reason = "classes lie anywhere, with borders in all directions, so images have no up"
    if seen.is_paper:
        return PresetProposal(None, f"{reason}, but they are mostly bright, as paper")
    if seen.colour < _COLOURED:
        return PresetProposal("microscopy", f"{reason}; they are grey")
    return PresetProposal("aerial", f"{reason}; take microscopy if a microscope made them")


def _intervals(
    values: Float64[ndarray, "..."],
) -> tuple[Float64[ndarray, "..."], Float64[ndarray, "..."], Int64[ndarray, "..."]]:
    """Return both ends of the interval of a mean over images, and how many have the value."""
    is_there = ~np.isnan(values)
    counts = is_there.sum(axis=0)
    known = np.where(is_there, values, 0.0)
    mean = known.sum(axis=0) / np.maximum(counts, 1)
    squares = (np.where(is_there, values - mean, 0.0) ** 2).sum(axis=0)
    error = _ERRORS * np.sqrt(squares / np.maximum(counts - 1, 1) / np.maximum(counts, 1))
    return mean - error, mean + error, counts


def _largest(
    low: Float64[ndarray, " classes"],
    high: Float64[ndarray, " classes"],
    is_known: Bool[ndarray, " classes"],
) -> float:
    """Return the largest mean distance from the centre; 0 where no interval is outside."""
    is_outside = is_known & ((low > _PLACE_TOLERANCE) | (high < -_PLACE_TOLERANCE))
    return float(np.abs((low + high) / 2)[is_outside].max(initial=0.0))
