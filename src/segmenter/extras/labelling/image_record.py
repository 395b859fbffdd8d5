"""The record of one image: what was painted and accepted in it, in which order, and by version."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmenter.data.decoding.decode import read_header
from segmenter.errors import UserError
from segmenter.extras.labelling.class_ids import ClassIds
from segmenter.extras.labelling.journal import Entry, Journal
from segmenter.extras.labelling.layers import Layers, Operation, read_operation
from segmenter.extras.labelling.runs import Box
from segmenter.files.regular import read_regular

_FORMAT = 1


class StaleError(UserError):
    """A change to what has changed since it was looked at."""


@dataclass(frozen=True)
class ImageFacts:
    """An image file, as it was when it was looked at."""

    path: Path
    shape: tuple[int, int]
    """Height and width, upright."""
    sha256: str

    @classmethod
    def read(cls, path: Path) -> "ImageFacts":
        """Look at an image file.

        Raises:
            UserError: If it is gone, or no image.
        """
        try:
            digest = hashlib.sha256(read_regular(path)).hexdigest()
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror}; its strokes are kept"
            ) from None
        return cls(path, read_header(path).size, digest)


class ImageRecord:
    """The layers of an image and the record on the disk from which they are restored.

    Args:
        path: Path of the record, which is written at the first change.
        image: The image that it belongs to.
        ids: Numbers of the classes in the record.

    Raises:
        UserError: If the record is damaged, or of another image.
    """

    def __init__(self, path: Path, image: ImageFacts, ids: ClassIds) -> None:
        self.image, self._ids = image, ids
        self._journal = Journal(path)
        self._head = {
            "kind": "image",
            "format": _FORMAT,
            "height": image.shape[0],
            "width": image.shape[1],
            "sha256": image.sha256,
        }
        self._check_head()
        self.layers = Layers(image.shape)
        self.is_done = False
        for number, entry in enumerate(self._changes, start=2):
            try:
                self._replay(entry)
            except (UserError, KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}, line {number} cannot be read: {error}") from None

    @property
    def version(self) -> int:
        """Number of changes so far."""
        return max(len(self._journal.entries) - 1, 0)

    @property
    def _changes(self) -> list[Entry]:
        return self._journal.entries[1:]

    def repeats(self, change_id: str) -> bool:
        """Return True if the last change is this one, whose acknowledgement was lost."""
        return self.version > 0 and self._journal.entries[-1].get("id") == change_id

    def check_version(self, version: int) -> None:
        """Refuse a change to another version than the newest.

        Raises:
            StaleError: If it is another.
        """
        if version != self.version:
            raise StaleError(
                f"version {version} of this image was changed, and version {self.version} is the "
                "newest; the newest is shown now, paint there"
            )

    def add(self, operation: Operation, change_id: str) -> Box:
        """Save an operation, then apply it; return the box that it changes.

        Raises:
            UserError: If it cannot be saved.
        """
        self._save({**self._ids.to_record(operation).entry(), "id": change_id})
        return self.layers.add(operation)

    def step(self, kind: str, change_id: str) -> Box:
        """Save and apply an `undo` or a `redo`; return the box that it changes.

        Raises:
            UserError: If there is nothing to undo or redo, or it cannot be saved.
        """
        is_possible = self.layers.can_undo if kind == "undo" else self.layers.can_redo
        if not is_possible:
            raise UserError(f"there is nothing to {kind}")
        self._save({"kind": kind, "id": change_id})
        return self.layers.undo() if kind == "undo" else self.layers.redo()

    def mark(self, is_done: bool, change_id: str) -> None:
        """Save that the image is done, or not.

        Raises:
            UserError: If it cannot be saved.
        """
        self._save({"kind": "mark", "done": is_done, "id": change_id})
        self.is_done = is_done

    def _check_head(self) -> None:
        if not self._journal.entries:
            return
        head, path = self._journal.entries[0], self._journal.path
        if head.get("kind") != "image" or head.get("format") != _FORMAT:
            raise UserError(
                f"{path} is not a record of strokes that this version reads; move it elsewhere"
            )
        if head != self._head:
            raise UserError(
                f"{self.image.path} is not the image any more that was painted in; bring it back, "
                f"or move {path}, which keeps its strokes, elsewhere and begin anew"
            )

    def _replay(self, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        if kind == "mark":
            self.is_done = bool(entry["done"])
        elif kind == "undo":
            self.layers.undo()
        elif kind == "redo":
            self.layers.redo()
        else:
            operation = read_operation(entry, self.image.shape)
            self.layers.add(self._ids.from_record(operation))

    def _save(self, entry: Entry) -> None:
        head = [] if self._journal.entries else [self._head]
        self._journal.append(*head, entry)
