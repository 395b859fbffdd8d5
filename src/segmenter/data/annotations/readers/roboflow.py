"""Roboflow's semantic masks: NAME.jpg beside NAME_mask.png, and _classes.csv with their values."""

import csv
from functools import partial
from pathlib import Path

from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.readers.voc import ValueTable, shapes_of_values
from segmenter.data.annotations.regions import Shape
from segmenter.data.annotations.source import Source, read_text, split_of
from segmenter.data.decoding.decode import decode_mask
from segmenter.data.masks.values import drop_equal_channels
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError

_TABLE, _ENDING = "_classes.csv", "_mask"


def is_export(content: bytes) -> bool:
    """Return whether _classes.csv is a table of values and classes."""
    return b"," in content


def read(source: Source) -> AnnotationSet:
    """Read the folders that hold `_classes.csv`; each is a split if its name says so."""
    tables = [path for path in source.files(".csv") if path.name == _TABLE]
    if not tables:
        raise UserError(f"{source.given} holds no {_TABLE}, as Roboflow's semantic masks have")
    export = AnnotationSet(has_masks=True)
    for table in tables:
        names = _read_table(table)
        export.classes |= dict.fromkeys(names.values())
        images = _by_stem(table.parent)
        for stem, image in images.items():
            mask = images.get(f"{stem}{_ENDING}")
            if stem.endswith(_ENDING) and mask is None:
                if stem.removesuffix(_ENDING) in images:
                    continue
                raise UserError(
                    f"{image} is a mask, and its image is not there; put it there, or remove "
                    "the mask"
                )
            export.images.append(
                ExportedImage(
                    name=image.name,
                    where=str(mask or image),
                    near=table.parent,
                    is_labelled=mask is not None,
                    read_shapes=partial(_shapes, mask, names, table),
                    split=split_of(table.parent.name),
                    path=image,
                )
            )
    return export


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the images and masks in a folder by their paths inside it, without suffix."""
    found: dict[str, Path] = {}
    for path in walk_images(folder):
        other = found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        if other != path:
            raise UserError(
                f"{other} and {path} have one name but for the suffix, and would share a mask; "
                "rename one, or remove it"
            )
    return found


def _read_table(path: Path) -> dict[int, str]:
    """Read lines of `value, class`, below a heading."""
    names: dict[int, str] = {}
    for number, row in enumerate(csv.reader(read_text(path).splitlines()), start=1):
        words = [word.strip() for word in row]
        if not any(words) or (number == 1 and not words[0].isdecimal()):
            continue
        if (
            len(words) != 2
            or not words[0].isdecimal()
            or not words[1]
            or words[1] in names.values()
        ):
            raise UserError(f"{path}, line {number}: a line is value, class, got {row!r}")
        names[int(words[0])] = words[1]
    if not names:
        raise UserError(f"{path} lists no class")
    return names


def _shapes(mask: Path | None, names: dict[int, str], table: Path, size: Size) -> list[Shape]:
    if mask is None:
        return []
    values = drop_equal_channels(decode_mask(mask))
    if values.ndim != 2:
        raise UserError(f"{mask} holds colours; masks of Roboflow are grey values")
    return shapes_of_values(values, ValueTable(names, table.name), mask, size)
