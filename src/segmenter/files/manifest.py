"""Record the files of an output folder that are ours, in a hidden file, for later runs."""

import contextlib
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

from segmenter.errors import UserError
from segmenter.files.regular import read_regular

MANIFEST_NAME = ".segmenter-manifest.jsonl"
"""In an output folder: a line of JSON for each file written, so that a later run knows its own."""
RECORDS_NAME = ".segmenter-shards"
"""In an output folder: what is known of each shard of a large run."""

Content = tuple[int, str]
"""Size in bytes and SHA-256 of a file."""


@runtime_checkable
class Notes(Protocol):
    """Name of the folder that holds the record of our files."""

    def add(self, name: str, content: Content) -> None:
        """Note that a file is about to get a content; an `OSError` if that cannot be done."""
        ...

    def known(self, name: str) -> set[Content]:
        """Every content that a file was ever given."""
        ...


class Manifest:
    """Notes as lines of JSON in a hidden file; several threads or processes may add to them.

    Raises:
        UserError: If the file is a link, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._contents = _read_manifest(path)

    def add(self, name: str, content: Content) -> None:
        """See `Notes`."""
        # One write in append mode: lines of several writers do not mix.
        _append_line(self.path, [name, *content])
        self._contents.setdefault(name, set()).add(content)

    def known(self, name: str) -> set[Content]:
        """See `Notes`."""
        return self._contents.get(name, set())


def written_names(folder: Path) -> set[str]:
    """Return the names of the files in a folder that runs of ours have written there."""
    return set(_read_manifest(folder / MANIFEST_NAME))


def is_output_folder(folder: Path) -> bool:
    """Return True if runs of ours have written into a folder."""
    return (folder / MANIFEST_NAME).exists() or (folder / RECORDS_NAME).exists()


def _read_manifest(path: Path) -> dict[str, set[Content]]:
    """Return every content that each name was ever given; incomplete lines are skipped."""
    known: dict[str, set[Content]] = {}
    if path.is_symlink():
        raise UserError(f"{path} is a link, and would be written through; remove it")
    try:
        text = read_regular(path).decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return known
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    for line in text.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            name, size, digest = json.loads(line)
            known.setdefault(name, set()).add((size, digest))
    return known


def _append_line(path: Path, values: list[object]) -> None:
    """Add one line of JSON; a line cut short by a crash before does not swallow it."""
    with path.open("ab") as file:
        file.write(b"\n" + json.dumps(values).encode())
