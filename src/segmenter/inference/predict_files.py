"""Label photos on disk: find them, and write an overlay, colours and label ids for each."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decode import IMAGE_SUFFIXES, decode_image
from segmenter.data.pairing import walk_images
from segmenter.drawing import (
    class_shares,
    encode_jpeg,
    label_png,
    overlay_with_legend,
    palette_png,
)
from segmenter.errors import UserError
from segmenter.inference.predictor import Predictor
from segmenter.outputs import MANIFEST_NAME, OutputFolder, stays_inside, written_names

Ids = Literal["index", "source"]
"""What a label file holds: class indices, or the mask values of the user's own data set."""

Draw = Callable[
    [UInt8[ndarray, "height width 3"], UInt[ndarray, "height width"], Float[ndarray, " classes"]],
    dict[str, bytes],
]
"""From a photo, its labels and the share of each class to files: name and content."""

_ENDINGS = ("_overlay.jpg", "_color.png", "_label.png")
_MAX_NAME_BYTES = 255 - 16  # of most file systems, less the longest ending that we add
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class Result:
    """What became of one photo."""

    path: Path
    outputs: tuple[Path, ...]
    """Overlay, colours and label ids; none if the photo could not be labelled."""
    shares: Float[ndarray, " classes"]
    """Share of each class in the pixels, 0 to 1; zeros if the photo could not be labelled."""
    seconds: float
    """From reading the photo to the last file written."""
    problem: str | None = None
    """Why the photo could not be labelled."""


@dataclass(frozen=True)
class SummaryTable:
    """Shares of the classes that occur, the largest over all photos first."""

    names: tuple[str, ...]
    """Of the classes, one a column."""
    photos: tuple[Path, ...]
    """One a row; photos with a problem are left out."""
    shares: Float[ndarray, "photos columns"]
    overall: Float[ndarray, " columns"]
    """Mean over the photos, each counting the same whatever its size."""


def find_images(inputs: Sequence[str]) -> list[tuple[Path, str]]:
    """Find photos, and a name for what is made of each, in the order of the names.

    Hidden files and folders, and folders that an earlier run wrote into, are passed over.

    Args:
        inputs: Photos, folders (searched to any depth), and patterns such as `shots/**/*.jpg`.

    Returns:
        Each photo with its path, less the suffix, inside the folder or pattern it was found by.

    Raises:
        UserError: If an input is missing or holds no photo, or if two photos have the same name.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path, name in _expand(given):
            other = found.setdefault(name, path)
            if os.path.abspath(other) != os.path.abspath(path):  # noqa: PTH100 (links stay links)
                raise UserError(
                    f"{other} and {path} would both be written as {name!r}; rename one, or label "
                    "them in two runs with different output folders"
                )
    return [(path, name) for name, path in sorted(found.items())]


def predict_files(
    predictor: Predictor,
    images: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    *,
    opacity: float = 0.5,
    ids: Ids = "index",
) -> Iterator[Result]:
    """Label photos and write NAME_overlay.jpg, NAME_color.png and NAME_label.png for each.

    A photo that cannot be read, or whose name cannot be written, does not stop the others.

    Args:
        predictor: What labels them; its model must take RGB.
        images: Photos and their names; see `find_images`.
        folder: Where files are written.
        opacity: Of the colours in the overlay: 0 shows the photo alone, 1 the colours alone.
        ids: What NAME_label.png holds.

    Returns:
        One result a photo, made as it is asked for.

    Raises:
        UserError: At once, if an option or a file in the way makes the run impossible; later, if
            a file cannot be written.
    """
    check_drawing(predictor, opacity)
    folder.check(name + ending for _, name in images if is_usable_name(name) for ending in _ENDINGS)
    return (
        label_file(predictor, path, folder, _drawer(predictor.classes, name, opacity, ids))
        if is_usable_name(name)
        else _unusable(path, predictor.classes)
        for path, name in images
    )


def check_drawing(predictor: Predictor, opacity: float) -> None:
    """Refuse, before any work is done, what no photo or frame could be drawn with.

    Raises:
        UserError: If the opacity is none, or the model takes other channels than red, green, blue.
    """
    if not 0 <= opacity <= 1:
        raise UserError(f"opacity must be from 0 (photo alone) to 1 (colours alone), got {opacity}")
    num_channels = predictor.spec.encoder.in_channels
    if num_channels != 3:
        raise UserError(f"photos have 3 channels, this model takes {num_channels}")


def is_usable_name(name: str) -> bool:
    """Whether results can be written under the name of a photo, on any system."""
    last = name.rsplit("/", 1)[-1]
    return stays_inside(name) and len(os.fsencode(last)) <= _MAX_NAME_BYTES


def _unusable(path: Path, classes: Classes) -> Result:
    problem = (
        f"{str(path)!r}: no result can have this name; shorten it, and leave out backslashes, "
        "control characters and the names of drives"
    )
    return Result(path, (), np.zeros(len(classes)), 0.0, problem)


def summary_table(results: Sequence[Result], classes: Classes) -> SummaryTable:
    """Share of each class, photo by photo and over all."""
    labelled = [result for result in results if result.problem is None]
    shares = np.array([result.shares for result in labelled]).reshape(-1, len(classes))
    overall = shares.sum(axis=0) / max(len(labelled), 1)
    order = [int(index) for index in np.argsort(-overall, kind="stable") if overall[index] > 0]
    return SummaryTable(
        names=tuple(classes.names[index] for index in order),
        photos=tuple(result.path for result in labelled),
        shares=shares[:, order],
        overall=overall[order],
    )


def source_ids(
    labels: UInt[ndarray, "height width"], classes: Classes
) -> UInt[ndarray, "height width"] | UInt8[ndarray, "height width 3"]:
    """Write class indices back as the mask values of the user's own data set.

    Grey values become uint8, or uint16 if one is above 255; colours become RGB.
    """
    values = np.array(classes.source_values)
    fits_byte = classes.is_rgb or values.max() <= 255
    return np.take(values.astype(np.uint8 if fits_byte else np.uint16), labels, axis=0)


def label_file(predictor: Predictor, path: Path, folder: OutputFolder, draw: Draw) -> Result:
    """Label one photo, and write what is drawn from it.

    Raises:
        UserError: If a file cannot be written; a photo that cannot be read is said in the result.
    """
    start = time.perf_counter()
    classes = predictor.classes
    try:
        image = decode_image(path)
        labels = predictor(image)
    except (UserError, MemoryError) as error:
        reason = str(error) or "does not fit into memory"
        problem = reason if str(path) in reason else f"{path}: {reason}"
        return Result(path, (), np.zeros(len(classes)), time.perf_counter() - start, problem)
    shares = class_shares(labels, len(classes))
    files = draw(image, labels, shares)
    outputs = tuple(folder.write(name, content) for name, content in files.items())
    return Result(path, outputs, shares, time.perf_counter() - start)


def _drawer(classes: Classes, name: str, opacity: float, ids: Ids) -> Draw:
    """What writes overlay, colours and label ids under a name."""

    def draw(
        image: UInt8[ndarray, "height width 3"],
        labels: UInt[ndarray, "height width"],
        shares: Float[ndarray, " classes"],
    ) -> dict[str, bytes]:
        drawn = overlay_with_legend(image, labels, classes, shares=shares, opacity=opacity)
        contents = (
            encode_jpeg(drawn),
            palette_png(labels, classes.colors, classes.ignore_index),
            label_png(source_ids(labels, classes) if ids == "source" else labels),
        )
        return {name + ending: each for ending, each in zip(_ENDINGS, contents, strict=True)}

    return draw


def _expand(given: str) -> list[tuple[Path, str]]:
    """The photos that one input stands for, with their names."""
    path = Path(given)
    if path.is_dir():
        ours = written_names(path)  # results may lie beside the photos they were made from
        photos = [photo for photo in _walk(path) if photo.relative_to(path).as_posix() not in ours]
        base, what = path, "folder"
    elif os.path.lexists(path):
        return [(path, path.stem)]
    elif _GLOB_CHARACTERS & set(given):
        photos, base = _match(path)
        what = "pattern"
    else:
        raise UserError(f"no such file or folder: {given}")
    if not photos:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{what} {given} holds no image; files with {suffixes} are looked for")
    return [(photo, photo.relative_to(base).with_suffix("").as_posix()) for photo in photos]


def _walk(folder: Path) -> Iterator[Path]:
    """Photos in a folder to any depth; links are followed, but no folder is entered twice."""
    entered = {os.path.realpath(folder)}

    def enters(found: Path) -> bool:
        real = os.path.realpath(found)
        if real in entered or _is_passed_over(found):
            return False
        entered.add(real)
        return True

    return walk_images(folder, enters)


def _match(pattern: Path) -> tuple[list[Path], Path]:
    """Photos that fit a pattern, and the folder before its first wildcard.

    `**` does not follow links.
    """
    depth = next(index for index, part in enumerate(pattern.parts) if _GLOB_CHARACTERS & set(part))
    base, rest = Path(*pattern.parts[:depth]), Path(*pattern.parts[depth:])
    try:
        matches = sorted(base.glob(str(rest)))
    except ValueError as error:
        raise UserError(f"pattern {pattern}: {error}") from None
    photos = []
    for path in matches:
        folders = [base / parent for parent in path.relative_to(base).parents][:-1]
        if _is_photo(path) and path.is_file() and not any(map(_is_passed_over, folders)):
            photos.append(path)
    return photos, base


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _is_passed_over(folder: Path) -> bool:
    """Whether a folder is hidden, or holds what an earlier run wrote."""
    return folder.name.startswith(".") or (folder / MANIFEST_NAME).exists()
