"""The classes of a folder that is labelled: they are read, and grow."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt, UInt8
from numpy import ndarray
from PIL import Image
from pydantic import ValidationError

from segmenter.classes import Classes, read_classes
from segmenter.classes.colors import distinct_colors
from segmenter.classes.file import strict_content
from segmenter.data.folder import CLASSES_FILE, has_classes
from segmenter.drawing import label_png
from segmenter.errors import UserError
from segmenter.extras.labelling.layers import MAX_CLASSES
from segmenter.files.yaml import first_problem

Color = tuple[int, int, int]
_HARD_TO_SEE: tuple[Color, ...] = ((0, 0, 0), (60, 60, 60), (128, 128, 128), (255, 255, 255))
"""Colours of shadows and light, and that of "not sure": new classes keep off these."""


def read_class_list(folder: Path) -> Classes | None:
    """Return the classes of a folder; None where there are none yet.

    Raises:
        UserError: If the file is damaged, or has more classes than can be labelled, or no value for
            pixels that are not labelled.
    """
    path = folder / CLASSES_FILE
    if not has_classes(path):
        return None
    classes = read_classes(path)
    if len(classes) > MAX_CLASSES:
        raise UserError(
            f"{path} has {len(classes)} classes, and `label` supports {MAX_CLASSES}; label some of "
            "them"
        )
    if ignored_value(classes) is None:
        kind = "[255, 255, 255]" if classes.is_rgb else "255"
        raise UserError(
            f"{path} has no ignored value for pixels that are not labelled yet; add a value that "
            f"no class has, such as `ignore: [{kind}]`"
        )
    return classes


def ignored_value(classes: Classes) -> int | Color | None:
    """Return the mask value of pixels without a label; None if none can be written."""
    taken = {value for info in classes.by_index for value in info.values}
    for value in classes.ignore:
        is_writable = value >= 0 if isinstance(value, int) else True
        if value not in taken and isinstance(value, tuple) == classes.is_rgb and is_writable:
            return value
    return None


def with_class(classes: Classes | None, name: str, color: Sequence[int] | None = None) -> Classes:
    """Return the classes with one more; its mask value is the lowest that is free.

    Args:
        classes: Those there are.
        name: Name of the new class.
        color: RGB; if None, one that differs from all others.

    Raises:
        UserError: If the name is empty or taken, or the list is full.
    """
    if classes is not None and classes.background:
        raise UserError(
            f"{CLASSES_FILE} has one class and a background; list the background as a class of its "
            "own before you add another"
        )
    known = () if classes is None else classes.classes
    if len(known) >= MAX_CLASSES:
        raise UserError(f"there are {len(known)} classes, the most that `label` supports")
    if any(info.name == name for info in known):
        raise UserError(f"the class {name!r} exists already; give another name")
    if color is None:
        beside = [*_HARD_TO_SEE, *(info.color for info in known)]
        color = distinct_colors(1, beside)[0].tolist()
    entry = {"name": name, "color": list(color or ()), "values": [_free_value(classes, color)]}
    try:
        strict = strict_content({"classes": [entry]})
        assert isinstance(strict, dict)
        new = Classes.model_validate(strict).classes[0]
        if classes is None:
            return Classes(classes=(new,))
        return Classes.model_validate({**classes.model_dump(), "classes": (*known, new)})
    except ValidationError as error:
        raise UserError(f"the class cannot be added: {first_problem(error, Classes)}") from None
    except ValueError as error:
        raise UserError(f"the class cannot be added: {error}") from None


def mask_png(labels: UInt8[ndarray, "height width"], classes: Classes) -> bytes:
    """Encode labels as the data set's masks have them: grey values with a palette, or RGB.

    Args:
        labels: Indices of classes; all other numbers mean that a pixel is not labelled.
        classes: The classes and their values.
    """
    ignored = ignored_value(classes)
    assert ignored is not None
    values = np.empty((256, 3) if classes.is_rgb else 256, dtype=np.int64)
    values[:] = ignored
    values[: len(classes)] = classes.source_values
    if values.max() > 255:
        return label_png(values.astype(np.uint16)[labels])
    encoded = values.astype(np.uint8)[labels]
    return label_png(encoded) if classes.is_rgb else _indexed_png(encoded, classes)


def _indexed_png(values: UInt[ndarray, "height width"], classes: Classes) -> bytes:
    """Grey values in the colours of their classes, for viewers."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[255] = 255
    for info in classes.by_index:
        palette[[value for value in info.values if isinstance(value, int)]] = info.color
    image = Image.fromarray(values)
    image.putpalette(palette.tobytes())
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=3)
    return buffer.getvalue()


def _free_value(classes: Classes | None, color: Sequence[int] | None) -> object:
    if classes is not None and classes.is_rgb:
        return list(color or ())
    taken: set[object] = {255}
    if classes is not None:
        taken |= {value for info in classes.by_index for value in info.values}
        taken |= set(classes.ignore)
    return next(value for value in range(65536) if value not in taken)
