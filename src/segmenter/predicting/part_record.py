"""The parts of a large run (`predict --parts`): which images belong to a part, and which are done.

The name of an image alone decides its part, so workers and machines need not agree on anything
else, and adding or removing an image moves no other. Each part has its own record, an SQLite file
in the output folder that one process holds at a time. It lists the images of the part, which are
done with what outcome, and which files were written. A killed run therefore resumes where it was,
memory does not grow with the number of images, and runs of different parts share nothing.
"""

import hashlib
import heapq
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.data.pairing.find_images import same_result
from segmenter.errors import UserError
from segmenter.files.manifest import RECORDS_NAME, Content
from segmenter.predicting.images import Result

_TABLES = """
CREATE TABLE IF NOT EXISTS images (name BLOB PRIMARY KEY, path BLOB, size INT, mtime_ns INT);
CREATE TABLE IF NOT EXISTS done
    (name BLOB PRIMARY KEY, size INT, mtime_ns INT, settings TEXT, shares BLOB);
CREATE TABLE IF NOT EXISTS failed (name BLOB PRIMARY KEY, path BLOB, problem BLOB);
CREATE TABLE IF NOT EXISTS lines (format TEXT, name BLOB, line BLOB, PRIMARY KEY (format, name));
CREATE TABLE IF NOT EXISTS files
    (name BLOB, size INT, sha256 TEXT, PRIMARY KEY (name, size, sha256)) WITHOUT ROWID;
"""
_IS_DONE = """done.name = images.name AND done.size = images.size
    AND done.mtime_ns = images.mtime_ns AND done.settings = :settings"""
_PAGE = 500

NamesOf = Callable[[str], list[str]]
"""The files that are written under the name of an image."""


def part_of(name: str, num_parts: int) -> int:
    """Return the part, from 1 to `num_parts`, of the image with a name."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % num_parts + 1


class Count(NamedTuple):
    """Progress of a part."""

    images: int
    done: int
    changed: int
    """Done once, but the image has changed since."""
    failed: int
    """Could not be labelled when it was last tried."""


class PartRecord:
    """The record of one part; held by one process at a time.

    Args:
        root: The output folder.
        part: Number of the part, from 1 to `num_parts`.
        num_parts: Number of parts.
        settings: Digest of everything that the files depend on besides the image.

    Raises:
        UserError: If another process holds it, or the file cannot be used.
    """

    def __init__(self, root: Path, part: int, num_parts: int, settings: str) -> None:
        self.path = root / RECORDS_NAME / f"{part}-of-{num_parts}.sqlite"
        self.part, self.num_parts, self.settings = part, num_parts, settings
        self._lock = threading.Lock()
        if self.path.parent.is_symlink():
            raise UserError(
                f"{self.path.parent} is a link, and would be written through; remove it"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{root} cannot be written: {error.strerror}") from None
        with self._naming():
            self._database = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                # One process at a time, which a folder shared between machines can hold too. A
                # killed process loses nothing; a power cut may lose the last images' notes.
                self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
                self._database.executescript(_TABLES)
            except sqlite3.Error:
                self._database.close()
                raise

    def __enter__(self) -> "PartRecord":
        """Hold the record within a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let other processes have it."""
        self._database.close()

    def list_images(self, images: Iterable[tuple[Path, str]]) -> None:
        """List those of the images that belong to the part, in place of an older list.

        Raises:
            UserError: If two images have the same name.
        """
        with self._transaction():
            self._database.execute("DELETE FROM images")
            for path, name in images:
                if part_of(name, self.num_parts) == self.part:
                    self._list(path, name)

    def forget_lost(self, names_of: NamesOf) -> None:
        """Count images as not done whose files are missing or empty, as after a power cut."""
        for (name,) in self._pages("SELECT name FROM done WHERE name > :after"):
            files = (self.path.parents[1] / each for each in names_of(_text(name)))
            if not all(map(_has_content, files)):
                with self._transaction():
                    self._database.execute("DELETE FROM done WHERE name = ?", (name,))

    def count(self) -> Count:
        """Return the progress of the part."""
        done = f"SELECT count(*) FROM images JOIN done ON {_IS_DONE}"
        once = "SELECT count(*) FROM images JOIN done ON done.name = images.name"
        failed = "SELECT count(*) FROM images JOIN failed ON failed.name = images.name"
        with self._lock, self._naming():
            total, num_done, num_once, num_failed = (
                self._database.execute(query, {"settings": self.settings}).fetchone()[0]
                for query in ("SELECT count(*) FROM images", done, once, failed)
            )
        return Count(total, num_done, num_once - num_done, num_failed)

    def pending(self) -> Iterator[tuple[Path, str]]:
        """Yield the images that are not done, by name."""
        query = f"""SELECT images.name, images.path FROM images LEFT JOIN done ON {_IS_DONE}
            WHERE done.name IS NULL AND images.name > :after"""
        for name, path in self._pages(query):
            yield _path(path), _text(name)

    def add_result(self, result: Result) -> None:
        """Note what became of an image."""
        name = _bytes(result.name)
        with self._transaction():
            for table in ("done", "failed", "lines"):
                self._database.execute(f"DELETE FROM {table} WHERE name = ?", (name,))
            if result.problem is not None:
                row = (name, _bytes(str(result.path)), _bytes(result.problem))
                self._database.execute("INSERT INTO failed VALUES (?, ?, ?)", row)
                return
            self._database.execute(
                "INSERT INTO done SELECT name, size, mtime_ns, ?, ? FROM images WHERE name = ?",
                (self.settings, result.shares.tobytes(), name),
            )
            for format, line in result.lines.items():
                row = (format, name, _bytes(line))
                self._database.execute("INSERT INTO lines VALUES (?, ?, ?)", row)

    def shares(self) -> Iterator[tuple[Path, Float[ndarray, " classes"]]]:
        """Yield the images that are done, by name, with the share of each class."""
        query = f"""SELECT images.name, images.path, done.shares FROM images JOIN done ON {_IS_DONE}
            WHERE images.name > :after"""
        for _, path, shares in self._pages(query):
            yield _path(path), np.frombuffer(shares, dtype=np.float64)

    def failed(self) -> Iterator[tuple[Path, str]]:
        """Yield the images that could not be labelled, by name, and why."""
        query = """SELECT failed.name, failed.path, problem FROM images
            JOIN failed ON failed.name = images.name WHERE images.name > :after"""
        for _, path, problem in self._pages(query):
            yield _path(path), _text(problem)

    def lines(self, format: str) -> Iterator[tuple[bytes, str]]:
        """Yield what a file of all images says of each that is done, by name."""
        query = f"""SELECT images.name, line FROM images JOIN done ON {_IS_DONE}
            JOIN lines ON lines.name = images.name AND lines.format = '{format}'
            WHERE images.name > :after"""
        for name, line in self._pages(query):
            yield name, _text(line)

    def add(self, name: str, content: Content) -> None:
        """Note that a file is about to get a content; see `manifest.Notes`."""
        with self._transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO files VALUES (?, ?, ?)", (_bytes(name), *content)
            )

    def known(self, name: str) -> set[Content]:
        """Return every content that a file was given; see `manifest.Notes`."""
        with self._lock, self._naming():
            query = "SELECT size, sha256 FROM files WHERE name = ?"
            return set(self._database.execute(query, (_bytes(name),)).fetchall())

    def _list(self, path: Path, name: str) -> None:
        try:
            stat = path.stat()
            size, mtime_ns = stat.st_size, stat.st_mtime_ns
        except OSError:
            size, mtime_ns = -1, -1  # whoever reads it says what is wrong
        row = (_bytes(name), _bytes(str(path)), size, mtime_ns)
        try:
            self._database.execute("INSERT INTO images VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            query = "SELECT path FROM images WHERE name = ?"
            ((other,),) = self._database.execute(query, row[:1]).fetchall()
            if _path(other).absolute() != path.absolute():
                raise same_result(_path(other), path, name) from None

    def _pages(self, query: str) -> Iterator[Sequence]:
        """Yield rows in the order of their first column, by pages: others may write meanwhile."""
        column = query.split()[1].rstrip(",")
        given: dict[str, object] = {"settings": self.settings, "after": b""}
        while True:
            with self._lock, self._naming():
                page = self._database.execute(
                    f"{query} ORDER BY {column} LIMIT {_PAGE}", given
                ).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            given["after"] = page[-1][0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do all of a block or nothing of it."""
        with self._lock, self._naming(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn what SQLite raises into one line."""
        try:
            yield
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise UserError(
                    f"part {self.part} of {self.num_parts} is in use by another process; "
                    "choose another part, or wait"
                ) from None
            raise UserError(f"{self.path} cannot be used: {error}") from None


def merged_lines(records: Sequence[PartRecord], format: str) -> Iterator[str]:
    """Yield what a file of all images says of each image of several parts, by name."""
    for _, line in heapq.merge(*(record.lines(format) for record in records)):
        yield line


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _bytes(text: str) -> bytes:
    """Encode text as it is kept: names on a disk need not be Unicode."""
    return text.encode(errors="surrogateescape")


def _text(kept: bytes) -> str:
    return kept.decode(errors="surrogateescape")


def _path(kept: bytes) -> Path:
    return Path(_text(kept))
