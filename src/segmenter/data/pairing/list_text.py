"""The text of a list of images: its encoding, its header, and how one line can be read.

Nothing here looks at the disk. A line has several readings, because a name may hold blanks and
commas; which one is meant, only the files can tell.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.errors import UserError
from segmenter.files.regular import read_regular

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MARKS = ("\t", ";", ",")
_MAX_LINE = 8192
_QUOTES = ('""', "''", "``", "“”")
_TOKEN = re.compile(r'"[^"]*"|\'[^\']*\'|\S+')
_COLUMNS = {
    "image": {"image", "images", "img", "imgs", "photo", "picture", "input", "imagename"}
    | {"imagepath"},
    "mask": {"mask", "masks", "label", "labels", "annotation", "annotations", "seg", "target"}
    | {"segmentation", "gt", "groundtruth", "output", "labelmap", "segmap"},
    "split": {"split", "set", "subset", "phase", "partition", "fold"},
    "name": {"file", "files", "filename", "filenames", "filepath", "path", "name", "names"},
    "id": {"id", "ids", "imageid"},
}
_FILLERS = {"path", "paths", "url", "the"}.union(*_COLUMNS.values())


@dataclass(frozen=True)
class Header:
    """The first line of a table: at which place image, mask and split stand."""

    mark: str | None
    """Separator of fields; None: blanks."""
    places: dict[str, int]

    @property
    def is_plain(self) -> bool:
        """True if lines read as without a header: an image and perhaps a mask, no more."""
        plain = self.places in ({"image": 0}, {"image": 0, "mask": 1})
        return plain and self.mark is None

    @property
    def is_of_interest(self) -> bool:
        """True if the table says more of images than their names: masks, or splits."""
        return bool({"mask", "split"} & self.places.keys())

    def fields(self, line: str) -> dict[str, str]:
        """Return the fields of a line by the names of their columns, without empty ones."""
        row = _split(line, self.mark)
        found = {what: row[place] for what, place in self.places.items() if place < len(row)}
        return {what: field for what, field in found.items() if field}


def read_lines(path: Path, errors: str = "strict") -> list[tuple[int, str]]:
    """Return the lines of a text that are not empty, with their numbers from 1.

    Args:
        path: The text.
        errors: What becomes of bytes that are not characters, as in `bytes.decode`.

    Raises:
        UserError: If it cannot be read, or is not a text in UTF-8, UTF-16 or UTF-32.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), None)
    try:
        text = content.decode(encoding or _without_bom(content), errors)
    except UnicodeDecodeError:
        raise UserError(
            f"{path} is not a list of images: it is not text in UTF-8 or UTF-16; save it as UTF-8"
        ) from None
    lines = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    found = [(number, line.strip(" \ufeff\f\v")) for number, line in lines if line.strip()]
    for number, line in found:
        if len(line) > _MAX_LINE:
            raise UserError(
                f"{path}, line {number}: {len(line)} characters; a line names an image and its "
                f"mask, in at most {_MAX_LINE}"
            )
    return found


def read_header(line: str) -> Header | None:
    """Return the header that a line is; None if it is not, as if a field is an image file."""
    mark = next((mark for mark in _MARKS if mark in line), None)
    fields = _split(line, mark)
    if any(Path(field).suffix.lower() in IMAGE_SUFFIXES for field in fields):
        return None
    places: dict[str, int] = {}
    for place, field in enumerate(fields):
        column = _column(field)
        if column is not None:
            places.setdefault(column, place)
    for weaker in ("name", "id"):
        if weaker in places:
            places.setdefault("image", places.pop(weaker))
    # Prose may begin with such a word; in a header of blanks each word is one.
    is_table = mark is not None or all(map(_column, fields))
    return Header(mark, places) if "image" in places and is_table else None


def readings(line: str) -> Iterator[tuple[str, ...]]:
    """Return all ways to read a line as an image, or an image and its mask; the likeliest first."""
    yield (unquoted(line),)
    for mark in _MARKS:
        if mark in line:
            yield tuple(field for field in _split(line, mark) if field)
    yield tuple(_split(line, None))
    for blank in re.finditer(r"\s+", line):
        yield unquoted(line[: blank.start()]), unquoted(line[blank.end() :])


def plain_reading(line: str) -> tuple[str, ...]:
    """Split a line of which no reading names files: at tabs, or else commas, or else blanks."""
    mark = next((mark for mark in _MARKS if mark in line), None)
    return tuple(field for field in _split(line, mark) if field)


def without_comment(line: str) -> str:
    """Return a line up to a `#` that follows a blank, or with which it begins."""
    return re.split(r"(?:^|\s+)#", line, maxsplit=1)[0]


def unquoted(field: str) -> str:
    """Return a field without the blanks and the quotes around it."""
    field = field.strip()
    for left, right in _QUOTES:
        if len(field) > 1 and field[0] == left and field[-1] == right:
            return field[1:-1].strip()
    return field


def _without_bom(content: bytes) -> str:
    """Guess the encoding of a text without a mark: in UTF-16, every other byte is mostly 0."""
    start = content[:256]
    if start[1::2].count(0) * 2 > len(start[1::2]):
        return "utf-16-le"
    return "utf-16-be" if start[::2].count(0) * 2 > len(start[::2]) else "utf-8"


def _split(line: str, mark: str | None) -> list[str]:
    if mark is None:
        return [unquoted(token) for token in _TOKEN.findall(line)]
    try:
        row = next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])
    except csv.Error:
        row = [line]
    return [unquoted(field) for field in row]


def _column(field: str) -> str | None:
    """Return the kind of a column of this name; None if it is not known."""
    words = re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", field).lower())
    if not words or not all(word in _FILLERS for word in words):
        return None
    columns = ("mask", "split", "image", "name", "id")
    return next((what for what in columns if _COLUMNS[what] & set(words)), None)
