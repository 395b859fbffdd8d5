"""Files in a folder, found by what a person writes: with or without folder and suffix."""

import os
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.data.pairing.walking import walk_images


class FileNames:
    """The images in a folder, read when a name is first looked for.

    Args:
        folder: Searched to any depth; it may be missing.
        suffixes: Suffixes of the files to find.
    """

    def __init__(self, folder: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> None:
        self.folder = folder
        self._suffixes = suffixes

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """Images by their path inside the folder, without suffix and with `/` between folders."""
        found: dict[str, list[Path]] = {}
        if self.folder.is_dir():
            for path in walk_images(self.folder, suffixes=self._suffixes):
                name = path.relative_to(self.folder).with_suffix("").as_posix()
                found.setdefault(composed(name), []).append(path)
        return found

    @cached_property
    def _by_file(self) -> dict[str, list[Path]]:
        return {
            composed(path.relative_to(self.folder).as_posix()): [path]
            for paths in self.by_name.values()
            for path in paths
        }

    @cached_property
    def _by_last(self) -> dict[str, list[Path]]:
        """Paths by the name of the file alone, with and without its suffix."""
        found: dict[str, list[Path]] = {}
        for paths in self.by_name.values():
            for path in paths:
                for key in {composed(path.name), composed(path.stem)}:
                    found.setdefault(key, []).append(path)
        return found

    def find(self, name: str, split: str) -> list[Path]:
        """Return the images that a name in a list of this split means; several if it is unclear."""
        key = composed(name.replace("\\", "/"))
        key = os.path.normpath(key).lstrip("/")
        key = key.removeprefix(f"{self.folder.name}/")
        for each in (key, f"{split}/{key}"):
            found = self._by_file.get(each) or self.by_name.get(each)
            if found:
                return found
        return self._by_last.get(key, [])


def find_file(name: str, folders: Iterable[Path]) -> Path | None:
    """Return the file that a path means, absolute or inside one of the folders; None without one.

    Backslashes stand for slashes, and letters with accents for their parts, if only so there is
    such a file. A path that begins with `/` may begin in one of the folders.
    """
    slashed = name.replace("\\", "/")
    forms = [name, slashed, composed(slashed), unicodedata.normalize("NFD", slashed)]
    forms += [form.lstrip("/") for form in forms if form.startswith("/")]
    for folder in folders:
        for form in dict.fromkeys(forms):
            # Path.is_file raises on a name that is too long.
            if form and os.path.isfile(folder / form):  # noqa: PTH113
                return folder / form
    return None


def composed(name: str) -> str:
    """Return a name in the composed form of Unicode (NFC): file systems differ in this."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
