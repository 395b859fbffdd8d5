"""Recognise the annotation tool that wrote a file or folder, by names and the ends of files."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from segmenter.data.annotations import ANNOTATION_FORMATS
from segmenter.data.annotations.source import ends_of
from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.errors import UserError

_MOST_LOOKED_AT, _MOST_ALIKE = 200, 5
"""Images in a folder that are looked at, and files of any other suffix."""


def recognise(given: Path) -> str | None:
    """Return the format of an export, as `ANNOTATION_FORMATS` names it; None if it is of none.

    Args:
        given: A file, or a folder, of which the files two folders deep are looked at.
    """
    if given.is_file():
        paths = [given]
    else:
        paths = [path for path in some_files(given) if path.name != "classes.yaml"]
    read_ends = cache(ends_of)  # several formats look at one file
    for name, each in ANNOTATION_FORMATS.items():
        for path in paths:
            if path.name.lower().endswith(each.endings) and each.accepts(read_ends(path)):
                return name
    return None


def some_files(root: Path) -> Iterator[Path]:
    """Yield files in a folder, and in those in it to a depth of two; of most kinds the first few.

    Raises:
        UserError: If a folder cannot be read.
    """
    seen: dict[tuple[Path, str], int] = {}
    for pattern in ("*", "*/*", "*/*/*"):
        try:
            found = sorted(root.glob(pattern))
        except OSError as error:
            raise UserError(f"{root} cannot be read: {error.strerror}") from None
        for path in found:
            key = (path.parent, path.suffix)
            seen[key] = seen.get(key, 0) + 1
            most = _MOST_LOOKED_AT if path.suffix.lower() in IMAGE_SUFFIXES else _MOST_ALIKE
            if seen[key] <= most and not path.name.startswith(".") and path.is_file():
                yield path
