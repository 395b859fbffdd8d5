"""YOLO segmentation: a text file beside each image, a polygon a line, and data.yaml with names."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from segmenter.data.annotations.annotation_set import AnnotationSet, ExportedImage
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import Polygon, Shape, as_ring
from segmenter.data.annotations.source import (
    NoImageError,
    Source,
    ends_of,
    files_like,
    naming,
    plain_parts,
    read_text,
    split_of,
    split_of_path,
)
from segmenter.errors import UserError
from segmenter.files.yaml import read_yaml

_LINE = re.compile(rb"\s*\d+(\s+[-+.\deE]+){4,}\s*")
"""A line of a label file: a class, and shares of width and height."""
_FARTHEST = 2.0
"""Share of width or height beyond which a number is not a share."""
_NAME_FILES = ("classes.txt", "obj.names")


def is_export(content: bytes) -> bool:
    """Return whether a file is a data.yaml, or holds the polygons or boxes of an image."""
    is_yaml = b"names" in content and re.search(rb"^\s*(train|val|path|nc)\s*:", content, re.M)
    return bool(is_yaml or _LINE.fullmatch(content.split(b"\n", 1)[0]))


def read(source: Source) -> AnnotationSet:
    """Read the images of a source, the label file of each, and the names of the classes."""
    root = source.root
    names, settings = _names(source)
    folders = _split_folders(settings)
    listed, remarks = _listed_splits(settings, source)
    export = AnnotationSet(classes=dict.fromkeys(names.values()), remarks=remarks)
    images = source.finder.all
    label_files = {image: _label_file(image, source) for image in images}
    _check_label_files(label_files, root)
    for image, labels in label_files.items():
        inside = image.relative_to(source.finder.root)
        export.images.append(
            ExportedImage(
                name=inside.as_posix(),
                where=str(labels or image),
                near=image.parent,
                is_labelled=labels is not None and bool(read_text(labels).strip()),
                read_shapes=partial(_shapes, labels, names),
                split=listed.get(image)
                or _split(inside, folders)
                or split_of_path(image.parent / "_", root),
                path=image,
            )
        )
    if not any(image.is_labelled for image in export.images):
        raise UserError(
            f"{root} holds no label file with a polygon for its {len(images)} images; they "
            "lie beside the images, or in labels/ as the images lie in images/"
        )
    return export


def _names(source: Source) -> tuple[dict[int, str], dict[str, Any]]:
    """Return the names of the classes by number, and what data.yaml says besides."""
    candidates = [source.given] if source.given.is_file() else files_like(source.root, "*.y*ml")
    for path in candidates:
        content = read_yaml(path)
        if isinstance(content, dict) and content.get("names"):
            return _numbered(content["names"], path), content
    for path in (each for name in _NAME_FILES for each in sorted(source.root.rglob(name))):
        lines = [line.strip() for line in read_text(path).splitlines()]
        return _numbered([line for line in lines if line], path), {}
    raise UserError(
        f"{source.given} has no data.yaml with `names`, and no classes.txt; they map numbers "
        "to classes"
    )


def _numbered(given: object, path: Path) -> dict[int, str]:
    if isinstance(given, list):
        given = dict(enumerate(given))
    if not isinstance(given, dict) or not all(
        isinstance(key, int) and isinstance(name, str | int | float) for key, name in given.items()
    ):
        raise UserError(f"{path}: `names` is a list of names, or numbers and names, got {given!r}")
    names = {int(key): str(name) for key, name in given.items()}
    if len(set(names.values())) < len(names):
        raise UserError(f"{path}: `names` holds a name twice; rename one")
    return names


def _split_folders(settings: dict[str, Any]) -> dict[str, str]:
    """Return the folder that data.yaml names for each split, as a path inside the data set."""
    return {
        "/".join(plain_parts(each)): split
        for each, split in _split_values(settings)
        if not each.endswith(".txt")
    }


def _listed_splits(settings: dict[str, Any], source: Source) -> tuple[dict[Path, str], list[str]]:
    """Return the split of each image in the lists that data.yaml names, and remarks.

    Published data sets name lists, and list images, that many users do not download.
    """
    found: dict[Path, str] = {}
    absent: list[str] = []
    for each, split in _split_values(settings):
        if not each.endswith(".txt"):
            continue
        path = source.root.joinpath(*plain_parts(each))
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises on a name that is too long
            absent.append(str(path))
            continue
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if not line.strip():
                continue
            with naming(f"{path}, line {number}"):
                try:
                    image = source.finder.find(line.strip(), source.root, split)
                except NoImageError:
                    absent.append(f"{line.strip()} of {path}")
                    continue
                if found.setdefault(image, split) != split:
                    raise ValueError(f"{image} is in {found[image]}, too; keep it in one split")
    if not absent:
        return found, []
    return found, [
        f"{len(absent)} lists or listed images of data.yaml are missing and skipped, such as "
        f"{absent[0]}"
    ]


def _split_values(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each folder or list of images that data.yaml names, and the first split it is of."""
    seen = set()
    for key, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
        given = settings.get(key)
        for each in given if isinstance(given, list) else [given]:
            if isinstance(each, str) and each not in seen:
                seen.add(each)
                yield each, split


def _split(inside: Path, folders: dict[str, str]) -> str | None:
    folder = f"{inside.parent.as_posix()}/"
    fitting = (split for name, split in folders.items() if name and folder.startswith(f"{name}/"))
    return next(fitting, None) or split_of(inside.parts[0] if len(inside.parts) > 1 else "")


def _label_file(image: Path, source: Source) -> Path | None:
    """Return the label file of an image: `labels` in place of the last `images`, or beside it."""
    root = source.root
    base = root if image.is_relative_to(root) else source.finder.root
    parts = image.relative_to(base).parts
    candidates = [image]
    if "images" in parts[:-1]:
        at = len(parts) - 1 - parts[::-1].index("images")
        candidates.insert(0, root.joinpath(*parts[:at], "labels", *parts[at + 1 :]))
    else:
        candidates += [root.joinpath("labels", *parts), root / "labels" / image.name]
    found = (path.with_suffix(".txt") for path in candidates)
    return next((path for path in found if path.is_file()), None)


def _check_label_files(used: dict[Path, Path | None], root: Path) -> None:
    """Refuse a label file that several images have, or that none has."""
    images = {labels: image for image, labels in used.items() if labels}
    for image, labels in used.items():
        if labels and images[labels] != image:
            raise UserError(
                f"{labels} may belong to {image} or {images[labels]}; rename one with its label "
                "file, or put label files into folders as the images lie in theirs"
            )
    others = [path for path in Source(root).files(".txt") if path not in images]
    unused = [path for path in others if _LINE.fullmatch(ends_of(path).split(b"\n", 1)[0])]
    if unused:
        raise UserError(
            f"{len(unused)} label files have no image, such as {unused[0]}; put the images there, "
            "give their folder with --images FOLDER, or remove the label files"
        )


def _shapes(path: Path | None, names: dict[int, str], size: Size) -> list[Shape]:
    shapes = []
    lines = read_text(path).splitlines() if path else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        with naming(where):
            label, numbers = _read_line(line)
            if label not in names:
                raise ValueError(f"class {label} has no name; there are {sorted(names)[:20]}")
            ring = as_ring(numbers, (float(size[1]), float(size[0])))
        shapes.append(Shape(names[label], Polygon((ring,)), where))
    return shapes


def _read_line(line: str) -> tuple[int, list[float]]:
    words = line.split()
    if len(words) == 5:
        raise ValueError(
            "a box (class, centre, size) and no polygon, of which no mask can be made; outline "
            "it in the tool, or remove it"
        )
    try:
        label, numbers = int(words[0]), list(map(float, words[1:]))
    except ValueError:
        raise ValueError(f"{line[:60]!r} is not a class with numbers behind it") from None
    far = [each for each in numbers if not abs(each) <= _FARTHEST]
    if far:
        raise ValueError(
            f"{far[0]:g} is not a share of width or height, from 0 to 1; export normalised polygons"
        )
    return label, numbers
