"""Masks of Pascal VOC's layout: colours, and labelmap.txt with the class of each; CVAT's too.

JPEGImages/NAME.jpg, SegmentationClass/NAME.png and ImageSets/Segmentation/SPLIT.txt.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.classes import Color, pack_rgb
from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import Shape, cut_out
from segmenter.data.annotations.source import (
    ImageFinder,
    Source,
    files_like,
    naming,
    plain_parts,
    read_text,
    split_of,
)
from segmenter.data.decoding.decode import decode_mask
from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.data.masks.values import pack_colors
from segmenter.errors import UserError

_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
_BORDER = (224, 224, 192)
"""Pixels of no class around objects, in masks of VOC."""
VOID = "\0border"
"""Label of such pixels."""


def is_export(content: bytes) -> bool:
    """Return whether a labelmap.txt has lines of name, colour, parts and actions."""
    return bool(re.search(rb"^[^#:\s][^:\n]*:[\d, ]*:[^:\n]*:", content, re.M))


def read(source: Source) -> AnnotationSet:
    """Read the masks that are listed, or all that there are."""
    root = source.root
    labelmap = source.given if source.given.is_file() else _found(root, "labelmap.txt")
    if labelmap is None:
        raise UserError(
            f"{root} has no labelmap.txt, which maps colours to classes, a line each, "
            "such as 'road:128,64,128::'; of Pascal VOC itself, use pascal_voc:PATH"
        )
    root = labelmap.parent
    classes = _read_labelmap(labelmap)
    if not (root / _MASKS).is_dir():
        raise UserError(f"{root} has no folder {_MASKS} beside {labelmap.name}")
    export = AnnotationSet(dict(classes), ignored=frozenset({VOID}), has_masks=True)
    folder = source.images or root / _IMAGES
    if not folder.is_dir():
        raise UserError(
            f"{root} has no folder {_IMAGES}; export it with its images (in CVAT: 'Save images'), "
            "or give the folder of the images with --images FOLDER"
        )
    finder = ImageFinder(folder)
    colors = {pack_rgb(color): name for name, color in classes.items()}
    colors.setdefault(pack_rgb(_BORDER), VOID)
    for name, split, where in _names(root):
        with naming(where):
            image = finder.find(name, folder, split)
        mask = _mask_of(name, root / _MASKS)
        export.images.append(
            ExportedImage(
                name=name,
                where=where,
                near=folder,
                is_labelled=mask.is_file(),
                read_shapes=partial(_shapes, mask, colors),
                split=split,
                path=image,
            )
        )
    return export


def _mask_of(name: str, folder: Path) -> Path:
    """Return the mask of an image that a list names, with its suffix or without."""
    inner = "/".join(plain_parts(name))  # a list cannot lead out of the folder
    mask = folder / f"{inner}.png"
    stem, suffix = os.path.splitext(inner)  # noqa: PTH122 - a path of slashes
    if suffix.lower() in IMAGE_SUFFIXES and not mask.is_file():
        return folder / f"{stem}.png"
    return mask


def _found(root: Path, name: str) -> Path | None:
    places = (root / name, *sorted(root.glob(f"*/{name}")), *sorted(root.glob(f"*/*/{name}")))
    return next((path for path in places if path.is_file()), None)


def _read_labelmap(path: Path) -> dict[str, Color]:
    """Read lines of `name:red,green,blue:parts:actions`."""
    classes: dict[str, Color] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        words = rest.split(":")[0].split(",")
        if words == [""] and ":" in rest:  # Datumaro leaves the colours of VOC itself out
            words = list(map(str, _color_of(len(classes))))
        if len(words) != 3 or not all(word.strip().isdecimal() for word in words):
            raise UserError(
                f"{path}, line {number}: a line is name:red,green,blue and two more colons, got "
                f"{line[:60]!r}"
            )
        red, green, blue = (int(word) for word in words)
        color = red, green, blue
        if max(color) > 255 or name in classes or color in classes.values():
            raise UserError(
                f"{path}, line {number}: a name or a colour twice, or a colour above 255: "
                f"{line[:60]!r}"
            )
        classes[name] = color
    if not classes:
        raise UserError(f"{path} lists no class")
    return classes


def _color_of(index: int) -> Color:
    """Return the colour that VOC gives to a class by its index, whose bits it spreads."""
    color = [0, 0, 0]
    for shift in range(8):
        for channel in range(3):
            color[channel] |= (index >> (3 * shift + channel) & 1) << (7 - shift)
    red, green, blue = color
    return red, green, blue


def _names(root: Path) -> list[tuple[str, str | None, str]]:
    """Return name, split and place of each image: those of the lists, or of all masks."""
    listed: dict[str, tuple[str | None, str]] = {}
    lists = sorted(
        files_like(root / _LISTS, "*.txt"), key=lambda path: (path.stem == "trainval", path)
    )
    for path in lists:
        split = None if path.stem == "default" else split_of(path.stem) or path.stem
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            # `trainval` comes last, and lists what `train` and `val` hold.
            name = line.strip().strip('"')  # a name with a blank stands in quotes
            if name:
                listed.setdefault(name, (split, f"{path}, line {number}"))
    if not listed:
        masks = files_like(root / _MASKS, "**/*.png")
        inside = [path.relative_to(root / _MASKS).with_suffix("").as_posix() for path in masks]
        listed = {name: (None, str(path)) for name, path in zip(inside, masks, strict=True)}
    return [(name, split, where) for name, (split, where) in listed.items()]


def _shapes(mask: Path, colors: dict[int, str], size: Size) -> list[Shape]:
    if not mask.is_file():
        return []
    values = decode_mask(mask, apply_palette=True)
    if values.ndim == 2:
        values = np.stack([values] * 3, axis=-1)
    if values.dtype != np.uint8:
        raise UserError(f"{mask} holds more than 8 bits a sample; masks of VOC are colours")
    table = ValueTable(colors, "labelmap.txt", _unpacked)
    return shapes_of_values(pack_colors(values), table, mask, size)


class ValueTable(NamedTuple):
    """The classes of the values of masks."""

    names: Mapping[int, str]
    """Names of classes by grey value, or by packed colour."""
    file: str
    """The file that says so, for messages."""
    show: Callable[[int], object] = int
    """Returns what messages show of a value."""


def shapes_of_values(
    values: Shaped[ndarray, "height width"], table: ValueTable, mask: Path, size: Size
) -> list[Shape]:
    """Return the pixels of each value of a mask.

    Args:
        values: Grey values, or packed colours.
        table: Their classes.
        mask: The file, for messages.
        size: Height and width of the image.

    Raises:
        UserError: If a value has no class, or the mask is of another size than the image.
    """
    if values.shape != size:
        raise UserError(
            f"{mask} is a mask of {values.shape[0]} x {values.shape[1]} pixels (height x width) in "
            f"an image of {size[0]} x {size[1]}; export both again"
        )
    shapes = []
    for value in np.unique(values).tolist():
        is_value = values == value
        if value not in table.names:
            raise UserError(
                f"{mask} holds {table.show(value)} at {100 * float(is_value.mean()):.2g} % of its "
                f"pixels, which {table.file} gives to no class; add a line for it, or export the "
                "masks again as PNG"
            )
        shapes.append(Shape(table.names[value], cut_out(is_value), str(mask)))
    return shapes


def _unpacked(color: int) -> list[int]:
    return [color >> 16, color >> 8 & 255, color & 255]
