"""From the values in a mask file to labels: the one place where masks are reduced to classes."""

import json
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Int32, Shaped
from numpy import ndarray

from segmenter.classes import NO_DATA, Classes, MaskValue
from segmenter.classes.colors import distinct_colors
from segmenter.errors import UserError

MANY_UNKNOWN_VALUES = 8
"""More unknown values than this in one mask are not a forgotten class but a spoilt mask."""


class MaskError(UserError):
    """A mask that cannot be mapped to classes.

    Args:
        message: One line for the user.
        kind: What is wrong, as a key of `problems.KINDS`.
        values: The values that no class has, with the number of their pixels, the commonest first.
    """

    def __init__(
        self,
        message: str,
        kind: str = "unknown-values",  # a default, so that processes can hand the error on
        values: tuple[tuple[MaskValue, int], ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.values = values


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
        MaskError: If no class has a value, or the mask is RGB and the classes are not.
    """
    labels = map_known_values(raw, classes, source)
    unknown = labels < 0
    if unknown.any():
        values = _count_values(raw[unknown], classes)
        message = f"{source}: {_describe_unknown(values, classes)}"
        raise MaskError(message, "unknown-values", values)
    return labels.astype(classes.label_dtype)


def map_known_values(
    raw: Shaped[ndarray, "height width *channels"], classes: Classes, source: str
) -> Int32[ndarray, "height width"]:
    """As `map_values`, but -1 where no class has the value.

    Raises:
        MaskError: If the mask is RGB and the classes are not.
    """
    return (_labels_of_colors if classes.is_rgb else _labels_of_grey)(raw, classes, source)


def pack_colors(
    colors: Shaped[ndarray, "height width 3"],
) -> Int32[ndarray, "height width"]:
    """Return one integer for each RGB pixel, as `classes.pack_rgb` makes it."""
    red, green, blue = (colors[:, :, channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


def drop_equal_channels(
    raw: Shaped[ndarray, "height width *channels"],
) -> Shaped[ndarray, "height width *fewer"]:
    """Return a grey mask out of one saved as RGB; a mask with colours as it is."""
    if raw.ndim == 3 and (raw == raw[:, :, :1]).all():
        return raw[:, :, 0]
    return raw


def _labels_of_grey(
    raw: Shaped[ndarray, "height width *channels"], classes: Classes, source: str
) -> Int32[ndarray, "height width"]:
    grey = drop_equal_channels(raw)
    if grey.ndim == 3:
        raise MaskError(
            f"{source} is an RGB mask, but classes.yaml lists grey values; "
            'list colours instead, such as "values: [[128, 64, 128]]"',
            "rgb-mask",
        )
    table = classes.grey_table()
    if grey.dtype == np.uint8:
        return cv2.LUT(grey, table[None, :256])
    if grey.dtype == np.uint16:
        return np.take(table, grey)
    labels = np.where(grey >= 0, np.take(table, np.maximum(grey, 0)), np.int32(-1))
    none = [NO_DATA, *(value for value in classes.ignore if isinstance(value, int) and value < 0)]
    return np.where(np.isin(grey, none), np.int32(classes.ignore_index), labels)


def _labels_of_colors(
    raw: Shaped[ndarray, "height width *channels"], classes: Classes, source: str
) -> Int32[ndarray, "height width"]:
    if raw.dtype != np.uint8:
        raise MaskError(
            f"{source} is a 16-bit grey mask, but classes.yaml lists RGB colours; "
            'list grey values instead, such as "values: [7]"',
            "sixteen-bit-mask",
        )
    packed = pack_colors(raw if raw.ndim == 3 else np.repeat(raw[:, :, None], 3, axis=2))
    table = classes.color_table()
    known = np.array(sorted(table), dtype=np.int32)
    labels = np.array([table[color] for color in known.tolist()], dtype=np.int32)
    place = np.searchsorted(known[:-1], packed)
    return np.where(known[place] == packed, labels[place], np.int32(-1))


def _count_values(
    values: Shaped[ndarray, "pixels ..."], classes: Classes
) -> tuple[tuple[MaskValue, int], ...]:
    """Return each value with the number of its pixels, the commonest first."""
    if values.ndim == 2 and not classes.is_rgb:
        values = values[:, 0]
    if values.ndim == 1 and classes.is_rgb:
        values = np.repeat(values[:, None], 3, axis=1)
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple(
        (value if isinstance(value, int) else tuple(value), count)
        for value, count in zip(distinct[order].tolist(), counts[order].tolist(), strict=True)
    )


def _describe_unknown(values: tuple[tuple[MaskValue, int], ...], classes: Classes) -> str:
    """Name the unknown values, and the line of YAML that makes the commonest known."""
    value, count = values[0]
    commonest = _plain(value)
    rest = ""
    if len(classes.classes) == 1:
        background = [*map(_plain, classes.background), commonest]
        rest = f'for all that is not {classes.names[-1]!r} "background: {_yaml(background)}", '
    others = ""
    if len(values) > 1:
        others = f" (and {len(values) - 1} more such values)"
    if len(values) > MANY_UNKNOWN_VALUES:
        return (
            f"value {_yaml(commonest)} at {count} pixels belongs to no class{others}; if the mask "
            "was resized smoothly or saved as JPEG, export it again as PNG without smoothing; "
            "otherwise add each value to a class or to ignore in classes.yaml"
        )
    ignore = [*map(_plain, classes.ignore), commonest]
    if isinstance(commonest, int) and commonest < 0:
        return (
            f"value {commonest} at {count} pixels belongs to no class{others}; none can have it: "
            f'to leave it out, write "ignore: {_yaml(ignore)}" into classes.yaml'
        )
    name = "-".join(map(str, commonest if isinstance(commonest, list) else [commonest]))
    if isinstance(commonest, list):
        color = commonest
    else:
        color = distinct_colors(commonest + 1)[-1].tolist()
    return (
        f"value {_yaml(commonest)} at {count} pixels belongs to no class{others}; add to "
        f'classes.yaml "- {{name: class-{name}, color: {_yaml(color)}, '
        f'values: [{_yaml(commonest)}]}}", {rest}or to leave it out "ignore: {_yaml(ignore)}"'
    )


def _plain(value: int | Sequence[int]) -> int | list[int]:
    return value if isinstance(value, int) else list(value)


def _yaml(value: int | list) -> str:
    # Lists of numbers are written the same in JSON and in YAML's flow style.
    return json.dumps(value)
