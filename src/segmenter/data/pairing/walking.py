"""Images in a folder and those in it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES, REPORTED_SUFFIXES
from segmenter.errors import UserError


def walk_images(
    folder: Path,
    enters: Callable[[Path], bool] = lambda _: True,
    ancestors: frozenset[str] = frozenset(),
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
    passed_over: Counter[str] | None = None,
) -> Iterator[Path]:
    """Yield images in a folder and those in it, by name; links are followed, but not in circles.

    Hidden files and folders are skipped.

    Args:
        folder: Where to look.
        enters: Whether to look into a folder that was found.
        ancestors: True paths of the folders around this one.
        suffixes: Suffixes of the files to find.
        passed_over: Counts the images and videos of formats that are not read, by suffix.

    Raises:
        UserError: If a folder cannot be read.
    """
    ancestors = ancestors | {os.path.realpath(folder)}
    names, folders = [], set()  # a folder may hold a million names
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if _is_dir(entry):
                    folders.add(entry.name)
                elif suffix not in suffixes:
                    if passed_over is not None and suffix in REPORTED_SUFFIXES:
                        passed_over[suffix] += 1
                    continue
                names.append(entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    names.sort()
    for name in names:
        path = folder / name
        if name not in folders:
            yield path
        elif os.path.realpath(path) not in ancestors and enters(path):
            yield from walk_images(path, enters, ancestors, suffixes, passed_over)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
