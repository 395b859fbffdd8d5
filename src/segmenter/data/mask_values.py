"""From the values in a mask file to labels: the one place where masks are reduced to classes."""

import colorsys
import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Shaped
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.errors import UserError

# More unknown values than this are no forgotten class but a spoilt mask.
_MANY_UNKNOWN_VALUES = 8
_GOLDEN_RATIO = 0.618034


def map_values(
    raw: Shaped[ndarray, "height width *channels"], classes: Classes, source: str
) -> Shaped[ndarray, "height width"]:
    """Give each pixel the index of the class that its value belongs to.

    Args:
        raw: Values as `decode_mask` gives them: uint8 or uint16, or uint8 RGB.
        classes: The classes and their values.
        source: What errors call the mask.

    Returns:
        Labels of `classes.label_dtype`; `classes.ignore_index` for values that are ignored.

    Raises:
        UserError: If no class has a value, or the mask is RGB and the classes are not.
    """
    labels = (_labels_of_colors if classes.is_rgb else _labels_of_grey)(raw, classes, source)
    unknown = labels < 0
    if unknown.any():
        raise UserError(f"{source}: {_unknown_values(raw[unknown], classes)}")
    return labels.astype(classes.label_dtype)


def pack_colors(
    colors: Shaped[ndarray, "height width 3"],
) -> Int32[ndarray, "height width"]:
    """One integer for each RGB pixel, as `classes.pack_rgb` makes it."""
    red, green, blue = (colors[:, :, channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def drop_equal_channels(
    raw: Shaped[ndarray, "height width *channels"],
) -> Shaped[ndarray, "height width *fewer"]:
    """A grey mask out of one saved as RGB; a mask with colours as it is."""
    if raw.ndim == 3 and (raw == raw[:, :, :1]).all():
        return raw[:, :, 0]
    return raw


def distinct_color(index: int) -> tuple[int, int, int]:
    """A colour for drawing class `index`: hues far apart, darker with each turn of 12."""
    brightness = (1.0, 0.75, 0.55)[index // 12 % 3]
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1, 0.75, brightness)
    return round(red * 255), round(green * 255), round(blue * 255)


def _labels_of_grey(
    raw: Shaped[ndarray, "height width *channels"], classes: Classes, source: str
) -> Int32[ndarray, "height width"]:
    grey = drop_equal_channels(raw)
    if grey.ndim == 3:
        raise UserError(
            f"{source} is an RGB mask, but classes.yaml lists grey values; "
            'list colours instead, such as "values: [[128, 64, 128]]"'
        )
    return np.take(classes.grey_table(), grey)


def _labels_of_colors(
    raw: Shaped[ndarray, "height width *channels"], classes: Classes, source: str
) -> Int32[ndarray, "height width"]:
    if raw.dtype != np.uint8:
        raise UserError(
            f"{source} is a 16-bit grey mask, but classes.yaml lists RGB colours; "
            'list grey values instead, such as "values: [7]"'
        )
    packed = pack_colors(raw if raw.ndim == 3 else np.repeat(raw[:, :, None], 3, axis=2))
    table = classes.color_table()
    known = np.array(sorted(table), dtype=np.int32)
    labels = np.array([table[color] for color in known.tolist()], dtype=np.int32)
    place = np.searchsorted(known[:-1], packed)
    return np.where(known[place] == packed, labels[place], np.int32(-1))


def _unknown_values(values: Shaped[ndarray, "pixels ..."], classes: Classes) -> str:
    """What the unknown values are, and the line of YAML that makes the commonest known."""
    if values.ndim == 2 and not classes.is_rgb:
        values = values[:, 0]
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    commonest = distinct[counts.argmax()].tolist()
    if classes.is_rgb and isinstance(commonest, int):
        commonest = [commonest] * 3
    rest = ""
    if len(classes.classes) == 1:
        background = [*map(_plain, classes.background), commonest]
        rest = f'for all that is not {classes.names[-1]!r} "background: {_yaml(background)}", '
    others = ""
    if len(distinct) > 1:
        others = f" (and {len(distinct) - 1} more such values)"
    if len(distinct) > _MANY_UNKNOWN_VALUES:
        others += "; so many come from a mask that was resized smoothly or saved as JPEG"
    ignore = [*map(_plain, classes.ignore), commonest]
    name = "-".join(map(str, commonest if isinstance(commonest, list) else [commonest]))
    color = commonest if isinstance(commonest, list) else [*distinct_color(commonest)]
    return (
        f"value {_yaml(commonest)} at {counts.max()} pixels belongs to no class{others}; add to "
        f'classes.yaml "- {{name: class-{name}, color: {_yaml(color)}, '
        f'values: [{_yaml(commonest)}]}}", {rest}or to leave it out "ignore: {_yaml(ignore)}"'
    )


def _plain(value: int | Sequence[int]) -> int | list[int]:
    return value if isinstance(value, int) else list(value)


def _yaml(value: int | list) -> str:
    # Lists of numbers are written the same in JSON and in YAML's flow style.
    return json.dumps(value)
