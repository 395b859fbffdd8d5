"""A first `classes.yaml`, from the values that the masks of a data set hold.

Smooth edges and JPEG put values into masks that no class has. Only values that cover area are
drafted; the rest is named in the heading, with its cause and its remedy.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.classes import NO_DATA, Classes, ClassInfo, Color
from segmenter.classes.colors import distinct_colors
from segmenter.data.decoding.decode import decode_mask, read_header
from segmenter.data.decoding.image_formats import LOSSY_FORMATS
from segmenter.data.folder import Item
from segmenter.data.masks.values import drop_equal_channels, pack_colors
from segmenter.errors import UserError

_MAX_CLASSES = 1024
_MAX_VALUES = 1 << 18
"""With more, masks are pictures."""
_IGNORED = 255
_INNER_SHARE = 0.05
"""Share of pixels with four equal neighbours above which a value covers an area."""
_RARE_SHARE, _RARE_SHARE_OF_MANY = 0.002, 0.02
"""A value without area is noise if it has less of all pixels: the second among many values."""
_MANY_VALUES = 16
_LOSSY_SHARE = 0.005
"""In lossy files a value is a class only with this share of all pixels."""
_LOSSY_REACH = 32
"""Lossy compression makes values as far as this from those of classes."""
_LEAST_COVERED = 0.5
"""Values that are kept have at least this share of the pixels, or masks are not masks."""
_HEADING = "# Drafted from the values in {} masks: look it through, and give the classes names.\n"
_CAUSES = {
    True: "compression (JPEG or AVIF)",
    False: "smooth edges (anti-aliasing, or resizing that is not by nearest neighbour)",
}
_NO_MASKS = (
    "{}: the masks read up to here hold more than {} values, which are not classes; were they "
    "resized smoothly, or saved as JPEG? Export them again as PNG, without anti-aliasing"
)


@dataclass
class _Values:
    """The values in a number of masks."""

    num_masks: int = 0
    num_lossy: int = 0
    pixels: Counter[int] = field(default_factory=Counter)
    """Number of pixels of each value."""
    inner: Counter[int] = field(default_factory=Counter)
    """Number of pixels of each value whose four neighbours have it too."""

    def add(self, values: Shaped[ndarray, "height width"], *, is_lossy: bool) -> None:
        self.num_masks += 1
        self.num_lossy += is_lossy
        middle = values[1:-1, 1:-1]
        is_inner = np.ones(middle.shape, dtype=bool)
        for other in (values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]):
            is_inner &= middle == other
        for counter, part in ((self.pixels, values), (self.inner, middle[is_inner])):
            distinct, counts = np.unique(part, return_counts=True)
            counter.update(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))

    def take_negative(self) -> list[int]:
        """Take out the values that no class can have, and give those that must be ignored."""
        negative = sorted(value for value in self.pixels if value < 0)
        for counter in (self.pixels, self.inner):
            for value in negative:
                counter.pop(value, None)
        return [value for value in negative if value != NO_DATA]


def draft_classes(items: Sequence[Item], limit: int = 200) -> str:
    """Write a `classes.yaml` that fits the masks: to be looked through, and given real names.

    Values that look like noise of smooth edges or of JPEG are left out, and named in a comment.

    Args:
        items: Items of any splits.
        limit: Masks that are read, spread evenly over the items.

    Raises:
        UserError: If masks are missing or unreadable, or hold too many values.
    """
    masks = [item.mask for item in items if item.mask is not None]
    if not masks:
        raise UserError("no masks to draft classes from")
    masks = masks[:: -(-len(masks) // limit)]
    grey, colors = _Values(), _Values()
    for path in masks:
        _read(path, grey, colors)
        if len(grey.pixels) + len(colors.pixels) > _MAX_VALUES:
            raise UserError(_NO_MASKS.format(path, _MAX_CLASSES))
    if colors.num_masks and max(grey.pixels, default=0) > 255:
        raise UserError("some masks are RGB and others hold grey values above 255; make them alike")
    if colors.num_masks:
        # A mask of a single grey, among colours, holds a grey colour.
        for part, other in ((colors.pixels, grey.pixels), (colors.inner, grey.inner)):
            part.update({value * 0x10101: count for value, count in other.items()})
        colors.num_lossy += grey.num_lossy
        kept, remark = _without_noise(colors, masks, is_rgb=True)
        classes = _classes_of_colors([_color(value) for value in kept])
    else:
        ignored = grey.take_negative()
        kept, remark = _without_noise(grey, masks, is_rgb=False)
        classes = _classes_of_values(kept)
        classes = classes.model_copy(update={"ignore": (*classes.ignore, *ignored)})
    return _HEADING.format(len(masks)) + remark + classes.to_yaml()


def _read(path: Path, grey: _Values, colors: _Values) -> None:
    raw = drop_equal_channels(decode_mask(path))
    is_lossy = read_header(path).format in LOSSY_FORMATS
    if raw.ndim == 3:
        colors.add(pack_colors(raw), is_lossy=is_lossy)
    else:
        grey.add(raw, is_lossy=is_lossy)


def _without_noise(
    values: _Values, masks: Sequence[Path], *, is_rgb: bool
) -> tuple[list[int], str]:
    """Values that are classes, in order, and what to say of those that are not.

    Raises:
        UserError: If there are too many, or classes cannot be recognised.
    """
    total = sum(values.pixels.values())
    pixels = values.pixels
    if values.num_lossy:
        pixels = pixels if is_rgb else _snapped(pixels)
        kept = _peaks(pixels, is_rgb)
        noise = values.pixels.keys() - set(kept)
    else:
        noise = _smooth_noise(values)
        kept = sorted(pixels.keys() - noise)
    is_covered = sum(pixels[value] for value in kept) >= _LEAST_COVERED * total
    if not is_covered and not values.num_lossy:
        kept, noise = sorted(values.pixels), set()
    if len(kept) > _MAX_CLASSES:
        raise UserError(_NO_MASKS.format(masks[-1], _MAX_CLASSES))
    if values.num_lossy and noise and not (is_covered and _are_apart(values, pixels, kept)):
        raise UserError(
            f"{values.num_lossy} of {len(masks)} masks are JPEG or AVIF files, such as "
            f"{masks[0]}, and their {len(values.pixels)} values do not tell which are those of "
            "classes; export the masks again as PNG"
        )
    if not noise:
        return kept, ""
    return kept, _remark(values, kept, noise, is_rgb=is_rgb)


def _smooth_noise(values: _Values) -> set[int]:
    """Rare values that cover no area."""
    total = sum(values.pixels.values())
    share = _RARE_SHARE_OF_MANY if len(values.pixels) > _MANY_VALUES else _RARE_SHARE
    return {
        value
        for value, count in values.pixels.items()
        if count < share * total and values.inner[value] < _INNER_SHARE * count
    }


def _peaks(pixels: Counter[int], is_rgb: bool) -> list[int]:
    """Return the values that are common, and commoner than those around them."""
    total = sum(pixels.values())
    kept: list[int] = []
    for value, count in pixels.most_common():
        if count < _LOSSY_SHARE * total:
            break
        if all(_distance(value, other, is_rgb) > _LOSSY_REACH for other in kept):
            kept.append(value)
    return sorted(kept)


def _are_apart(values: _Values, pixels: Counter[int], kept: list[int]) -> bool:
    """Return True if no value beside those that are kept covers area, and might be a class too."""
    total = sum(pixels.values())
    return len(kept) > 1 and all(
        value in kept or count < 2 * _LOSSY_SHARE * total or 3 * values.inner[value] < count
        for value, count in pixels.items()
    )


def _snapped(pixels: Counter[int]) -> Counter[int]:
    """Count the pixels of each value, those of nearly 0 or 255 with these."""
    snapped: Counter[int] = Counter()
    for value, count in pixels.items():
        snapped[0 if value < 8 else 255 if 247 < value < 256 else value] += count
    return snapped


def _distance(one: int, other: int, is_rgb: bool) -> int:
    if not is_rgb:
        return abs(one - other)
    return max(abs(a - b) for a, b in zip(_color(one), _color(other), strict=True))


def _remark(values: _Values, kept: list[int], noise: set[int], *, is_rgb: bool) -> str:
    """Comments that name the noise, its cause and its remedy."""
    share = sum(values.pixels[value] for value in noise) / sum(values.pixels.values())
    examples = sorted(noise, key=lambda value: -values.pixels[value])[:5]
    shown = ", ".join(str(list(_color(value)) if is_rgb else value) for value in examples)
    text = (
        f"# Left out: {len(noise)} more {'value' if len(noise) == 1 else 'values'}, such as "
        f"{shown}, at {100 * share:.2g} % of the pixels.\n"
        f"# They cover no area, and look like noise of {_CAUSES[values.num_lossy > 0]}.\n"
        "# Export the masks again as PNG, without anti-aliasing; until then `check` and `train`\n"
        "# refuse them. If such a value is a class, add it below.\n"
    )
    if not is_rgb and len(kept) == 2 and kept[1] <= 255:
        first, second = kept
        middle = (first + second + 1) // 2
        low, high = _listed(range(middle)), _listed(range(middle, 256))
        text += (
            f"# To have {middle} decide instead, list all values:\n"
            f"#   of {first}: {low}\n#   of {second}: {high}\n"
        )
    return text


def _listed(values: Iterable[int]) -> str:
    return str(list(values))


def _color(packed: int) -> Color:
    return packed >> 16, packed >> 8 & 255, packed & 255


def _distinct(count: int) -> list[Color]:
    return [(red, green, blue) for red, green, blue in distinct_colors(count).tolist()]


def _classes_of_colors(values: list[Color]) -> Classes:
    classes = tuple(
        ClassInfo(name=f"class-{index}", color=value, values=(value,))
        for index, value in enumerate(values)
    )
    return Classes(classes=classes, ignore=())


def _classes_of_values(values: list[int]) -> Classes:
    if values == [0, _IGNORED]:
        foreground = ClassInfo(name="foreground", color=_distinct(1)[0], values=(_IGNORED,))
        return Classes(classes=(foreground,), background=(0,), ignore=())
    # 255 is a class where 254 is, and where nothing else is left to be one.
    ignores = _IGNORED - 1 not in values and values != [_IGNORED]
    listed = [value for value in values if not (ignores and value == _IGNORED)]
    classes = tuple(
        ClassInfo(name=f"class-{value}", color=color, values=(value,))
        for value, color in zip(listed, _distinct(len(listed)), strict=True)
    )
    return Classes(classes=classes, ignore=(_IGNORED,) if ignores else ())
