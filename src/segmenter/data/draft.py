"""A first `classes.yaml`, from the values that the masks of a data set hold."""

from collections.abc import Sequence

import numpy as np

from segmenter.classes import Classes, ClassInfo, Color
from segmenter.data.decode import decode_mask
from segmenter.data.folder import Item
from segmenter.data.mask_values import distinct_color, drop_equal_channels, pack_colors
from segmenter.errors import UserError

_MAX_CLASSES = 1024
_IGNORED = 255
_HEADING = "# Drafted from the values in {} masks: look it through, and give the classes names.\n"


def draft_classes(items: Sequence[Item], limit: int = 200) -> str:
    """Write a `classes.yaml` that fits the masks: to be looked through, and given real names.

    Args:
        items: Items of any splits.
        limit: Masks that are read, spread evenly over the items.

    Raises:
        UserError: If there is no mask, one cannot be read, or they hold too many values.
    """
    masks = [item.mask for item in items if item.mask is not None]
    if not masks:
        raise UserError("no masks to draft classes from")
    masks = masks[:: max(len(masks) // limit, 1)][:limit]
    grey: set[int] = set()
    colors: set[int] = set()
    for path in masks:
        raw = drop_equal_channels(decode_mask(path))
        if raw.ndim == 3:
            colors |= set(np.unique(pack_colors(raw)).tolist())
        else:
            grey |= set(np.unique(raw).tolist())
        if len(grey) + len(colors) > _MAX_CLASSES:
            raise UserError(
                f"{path}: the masks read up to here hold more than {_MAX_CLASSES} values, which "
                "are no classes; were they resized smoothly, or saved as JPEG?"
            )
    if colors and max(grey, default=0) > 255:
        raise UserError("some masks are RGB and others hold grey values above 255; make them alike")
    if colors:
        # A mask of a single grey, among colours, holds a grey colour.
        packed = sorted(colors | {value << 16 | value << 8 | value for value in grey})
        classes = _classes_of_colors([(v >> 16, v >> 8 & 255, v & 255) for v in packed])
    else:
        classes = _classes_of_values(sorted(grey))
    return _HEADING.format(len(masks)) + classes.to_yaml()


def _classes_of_colors(values: list[Color]) -> Classes:
    classes = tuple(
        ClassInfo(name=f"class-{index}", color=value, values=(value,))
        for index, value in enumerate(values)
    )
    return Classes(classes=classes, ignore=())


def _classes_of_values(values: list[int]) -> Classes:
    if values == [0, _IGNORED]:
        foreground = ClassInfo(name="foreground", color=distinct_color(0), values=(_IGNORED,))
        return Classes(classes=(foreground,), background=(0,), ignore=())
    # 255 is a class where 254 is, and where nothing else is left to be one.
    ignores = _IGNORED - 1 not in values and values != [_IGNORED]
    listed = [value for value in values if not (ignores and value == _IGNORED)]
    classes = tuple(
        ClassInfo(name=f"class-{value}", color=distinct_color(index), values=(value,))
        for index, value in enumerate(listed)
    )
    return Classes(classes=classes, ignore=(_IGNORED,) if ignores else ())
