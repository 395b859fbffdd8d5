"""The files of an export: found, read within bounds, and never outside of the folders given.

A name in an export is looked for among the images of these folders; it is not opened as a path.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES, describe_passed_over
from segmenter.data.pairing.file_names import composed
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError
from segmenter.files.outputs import stays_inside
from segmenter.files.regular import read_regular
from segmenter.files.xml import parse_xml
from segmenter.files.yaml import first_problem

_MAX_JSON_BYTES = 2 << 30
_MAX_XML_BYTES = 512 << 20
_MAX_TEXT_BYTES = 64 << 20
_PARSED_BYTES = 16 << 20
"""Size up to which a JSON file of another kind is parsed, to see whether it is damaged."""
_MAX_DEPTH = 8
"""Folders in folders that are searched for the files of an export."""
_SPLITS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing", "tst"},
}
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
"""Suffixes, in lower case, of archives; zip and tar are read."""
_IMAGE_FOLDERS = ("images", "JPEGImages", "img", "data")
_ANNOTATION_FOLDERS = {"annotations", "annotation", "labels", "ann"}
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
"""Label Studio puts this before the name of an image that was uploaded."""

Model = TypeVar("Model", bound=BaseModel)
Side = Annotated[int, Field(ge=0, le=65535)]
"""Height or width of an image, as a file states it; 0 where a tool did not look."""
Count = Annotated[int, Field(ge=0, le=1 << 40)]
"""Pixels of one run."""


def split_of(text: str) -> str | None:
    """Return the split that a name of a file or folder means: train, val or test; else None."""
    words = set(re.findall("[a-z]+", text.lower()))
    found = [split for split, names in _SPLITS.items() if words & names]
    return found[0] if len(found) == 1 else None


def split_of_path(path: Path, root: Path) -> str | None:
    """Return the split that a file, or the nearest folder around it inside `root`, is named by."""
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    parts = [inside.stem, *reversed(inside.parent.parts)]
    return next((split for split in map(split_of, parts) if split), None)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put a place before what is wrong there."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is damaged"
        raise UserError(f"{where}: {reason}") from None


def read_document(path: Path, max_bytes: int = _MAX_TEXT_BYTES) -> bytes:
    """Read a file of an export whole.

    Raises:
        UserError: If it cannot be read, is not a file, or is too large.
    """
    try:
        return read_regular(path, max_bytes).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """Read a text file of an export.

    Raises:
        UserError: As `read_document`, or if it is not UTF-8.
    """
    try:
        return read_document(path).decode()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text (UTF-8); export it again") from None


def read_json(path: Path, form: type[Model]) -> Model:
    """Read a JSON file of an export.

    Args:
        path: The file.
        form: What must be in it; other keys are skipped.

    Raises:
        UserError: If it cannot be read, or is not of this form.
    """
    content = read_document(path, _MAX_JSON_BYTES)
    try:
        return form.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_problem(error, form)}") from None


def validated(form: type[Model], content: object, where: str) -> Model:
    """Return a part of an export in its form.

    Raises:
        UserError: If it is not of this form.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {first_problem(error, form)}") from None


def read_xml(path: Path) -> ElementTree.Element:
    """Read an XML file of an export, which may declare no entities.

    Raises:
        UserError: If it cannot be read, is not XML, or declares a document type.
    """
    return parse_xml(read_document(path, _MAX_XML_BYTES), str(path))


def _problem(error: ValidationError, form: type[BaseModel]) -> str:
    finding = error.errors(include_url=False, include_input=False)[0]
    if finding["type"] != "json_invalid":
        return first_problem(error, form)
    reason = finding.get("ctx", {}).get("error", "")
    return f"it is cut, damaged or not JSON ({reason}); export it again"


def plain_parts(name: str) -> list[str]:
    """Return the folders and the file that an export names, without drive, root and `..`.

    Of an address, such as one of Label Studio, the path counts, or the file that it asks for.
    """
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE) or name.startswith("/data/"):
        address = urlsplit(name)
        asked = parse_qs(address.query).get("d", [])
        name = asked[0] if asked else unquote(address.path)
    parts = name.replace("\\", "/").split("/")
    return [part for part in parts if part not in {"", ".", ".."} and not part.endswith(":")]


@dataclass(frozen=True)
class Source:
    """The export given to `segmenter prepare`: a folder or file, and perhaps a folder of images."""

    given: Path
    images: Path | None = None

    @property
    def root(self) -> Path:
        """The folder that holds the files of the export."""
        return self.given if self.given.is_dir() else self.given.parent

    def files(self, suffix: str) -> list[Path]:
        """Return the files with a suffix, sorted; the file alone if one was given."""
        if not self.given.is_dir():
            return [self.given]
        return sorted(path for path in _walk(self.given) if path.name.lower().endswith(suffix))

    def accepted(self, suffix: str, accepts: Callable[[bytes], bool], what: str) -> list[Path]:
        """Return the files with a suffix whose beginning and end hold what a tool writes.

        Raises:
            UserError: If there is none, or one is cut or damaged.
        """
        named = self.files(suffix)
        found = [path for path in named if not self.given.is_dir() or accepts(ends_of(path))]
        for path in named:
            if suffix == ".json" and path not in found and _is_cut(path):
                raise UserError(
                    f"{path} is cut, damaged or not JSON (UTF-8); export it again, or remove it"
                )
        if not found:
            other = f"; {named[0]}, for one, is something else" if named else ""
            raise UserError(f"{self.given} holds no {what}{other}")
        return found

    @cached_property
    def finder(self) -> "ImageFinder":
        """Finds the images that the export names."""
        if self.images is not None:
            return ImageFinder(self.images)
        root = self.root
        beside = not self.given.is_dir() and root.name.lower() in _ANNOTATION_FOLDERS
        return ImageFinder(root.parent if beside else root, root)


class NoImageError(ValueError):
    """No image has the name that an export states."""


class ImageFinder:
    """Finds images by what exports call them.

    Args:
        root: The folder that holds them.
        also: Another folder to look in, first.
    """

    def __init__(self, root: Path, also: Path | None = None) -> None:
        self.root = root
        self._roots = [root] if also in {None, root} else [also or root, root]

    def find(self, name: str, near: Path, split: str | None) -> Path:
        """Return the image that is meant.

        Args:
            name: A path, an address, or a name without suffix.
            near: The folder of the file that names it, looked in first if it is inside.
            split: Preferred among images of one name.

        Raises:
            NoImageError: If there is none.
            ValueError: If there are several.
        """
        parts = plain_parts(name)
        if not parts:
            raise ValueError(f"{name!r} is not the name of an image")
        return self._beside(parts, near) or self._searched(parts, name, split)

    def _beside(self, parts: list[str], near: Path) -> Path | None:
        """Look where most exports have it, without searching all folders."""
        inner = "/".join(parts)
        if not stays_inside(inner) or Path(inner).suffix.lower() not in IMAGE_SUFFIXES:
            return None
        nearby = [near] if any(near.is_relative_to(root) for root in self._roots) else []
        for folder in (*nearby, *self._roots):
            for place in (folder, *(folder / each for each in _IMAGE_FOLDERS)):
                # Path.is_file raises on a name that is too long.
                if os.path.isfile(place / inner):  # noqa: PTH113
                    return place / inner
        return None

    def _searched(self, parts: list[str], name: str, split: str | None) -> Path:
        last = composed(parts[-1])
        found = self._by_name.get(last) or self._by_stem.get(last)
        if not found and _UPLOAD.match(last):
            last = last[_UPLOAD.match(last).end() :]  # type: ignore[union-attr]
            found = self._by_name.get(last)
        if not found:
            passed_over = describe_passed_over(self._passed_over)
            raise NoImageError(
                f"no image {name!r} in {self.root}{f' ({passed_over})' if passed_over else ''}; "
                "put it there, or give the folder of the images with --images FOLDER"
            )
        ranks = {path: self._rank(path, parts, split) for path in found}
        best = [path for path in found if ranks[path] == max(ranks.values())]
        if len(best) > 1:
            raise ValueError(
                f"{name!r} may be {best[0]} or {best[1]}; take one away, or give the folder of the "
                "images with --images FOLDER"
            )
        return best[0]

    def _rank(self, path: Path, parts: list[str], split: str | None) -> tuple[int, bool]:
        """Count the folders that are as the export has them, from the last on."""
        folders = path.relative_to(self.root).parent.parts
        alike = 0
        for ours, theirs in zip(reversed(folders), reversed(parts[:-1]), strict=False):
            if ours != theirs:
                break
            alike += 1
        return alike, split is not None and any(split_of(each) == split for each in folders)

    @cached_property
    def all(self) -> list[Path]:
        """All images, sorted."""
        return list(walk_images(self.root, passed_over=self._passed_over))

    @cached_property
    def _passed_over(self) -> Counter[str]:
        return Counter()

    @cached_property
    def _by_name(self) -> Mapping[str, list[Path]]:
        return _grouped(self.all, lambda path: path.name)

    @cached_property
    def _by_stem(self) -> Mapping[str, list[Path]]:
        return _grouped(self.all, lambda path: path.stem)


def ends_of(path: Path, num_bytes: int = 1 << 16) -> bytes:
    """Return the beginning and the end of a file; nothing if it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            start = file.read(num_bytes)
            size = file.seek(0, 2)
            file.seek(max(size - num_bytes, len(start)))
            return start + file.read()
    except OSError:
        return b""


def _is_cut(path: Path) -> bool:
    """Return whether a file is not JSON; of a large one, whether it does not end as JSON does."""
    content = ends_of(path, _PARSED_BYTES // 2).strip(b"\xef\xbb\xbf \t\r\n")
    if not (content.startswith((b"{", b"[")) and content.endswith((b"}", b"]"))):
        return True
    try:
        if path.stat().st_size <= _PARSED_BYTES:
            from_json(content)
    except (ValueError, OSError):
        return True
    return False


def _grouped(paths: list[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(composed(key(path)), []).append(path)
    return found


def files_like(folder: Path, pattern: str) -> list[Path]:
    """Return the files in a folder that fit a pattern, sorted; hidden ones are skipped.

    macOS leaves a hidden `._NAME` beside each file on disks of other systems, and in archives.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _walk(folder: Path, ancestors: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files in a folder and those in it; hidden ones are skipped.

    Links are followed, but not in circles.
    """
    ancestors = (*ancestors, os.path.realpath(folder))
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.is_file():
            yield Path(entry.path)
        elif (
            entry.is_dir()
            and len(ancestors) <= _MAX_DEPTH
            and os.path.realpath(entry.path) not in ancestors
        ):
            yield from _walk(Path(entry.path), ancestors)
