"""A folder that is labelled: images, masks and classes of a data set, and `strokes` beside them.

Not safe for threads: whoever serves it calls it from one.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.data.folder import CLASSES_FILE, check_sizes, read_labels
from segmenter.data.pairing.file_names import FileNames
from segmenter.data.pairing.find_images import find_images, is_usable_name
from segmenter.data.pairing.items import Item
from segmenter.data.pairing.layouts import IMAGE_FOLDERS
from segmenter.data.pairing.lists import ListReader
from segmenter.errors import UserError
from segmenter.extras.labelling.class_ids import SUFFIX, ClassIds
from segmenter.extras.labelling.class_list import mask_png, read_class_list, with_class
from segmenter.extras.labelling.image_record import ImageFacts, ImageRecord, StaleError
from segmenter.extras.labelling.journal import read_journal
from segmenter.extras.labelling.layers import NOT_SURE, NOTHING, Acceptance, Operation
from segmenter.extras.labelling.mask_files import STROKES, ForeignMaskError, MaskFiles, OwnFiles
from segmenter.extras.labelling.runs import Box
from segmenter.terminal import show

LISTS = ""
"""Stands in place of an image for what is wrong with lists of images."""
_MAX_OPEN = 4
"""Images whose layers are kept in memory."""

State = Literal["new", "work", "done", "given"]


@dataclass(frozen=True)
class Change:
    """A change that somebody wants to make to an image."""

    image: str
    version: int
    """The version of the image that was looked at."""
    id: str
    """Identifier by which a change that is sent again is made only once."""


@dataclass(frozen=True)
class Outcome:
    """An image as it stands after it was opened or changed."""

    version: int
    box: Box | None
    """The change; None without one."""
    can_undo: bool
    can_redo: bool
    state: State


class LabelFolder:
    """A folder that is labelled; use `open_label_folder`, which also keeps others out.

    Args:
        root: The data set.

    Raises:
        UserError: If it has no images, or something in it cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._strokes = root, root / STROKES
        self.classes: Classes | None = read_class_list(root)
        self._ids = ClassIds(self._strokes, self.classes)
        self._images_folder = find_image_folder(root)
        self._files = OwnFiles(root, self._strokes)
        self._masks = MaskFiles(root, self._files)
        self._images: dict[str, Path] = {}
        self._states: dict[str, State] = {}
        self._versions: dict[str, int] = {}
        self._open: OrderedDict[str, ImageRecord] = OrderedDict()
        self._seen: dict[str, tuple[int, int]] = {}
        self._unwritten: set[str] = set()
        self.look()

    def look(self) -> None:
        """Find the images, masks and classes that there are now.

        Raises:
            UserError: If the folder holds no image, or its classes were changed other than by new
                ones at the end.
        """
        self._read_classes()
        found = find_images([str(self._images_folder)])
        self._images = {name: path for path, name in found if is_usable_name(name)}
        self._masks.look(self._images)
        for name in self._images:
            if name not in self._open:
                self._states[name] = self._read_state(name)

    @property
    def renamed(self) -> list[str]:
        """Which class is taken to have another name now, one line each."""
        return self._ids.renamed

    @property
    def names(self) -> list[str]:
        """Names of all images, in order."""
        return list(self._images)

    def states(self) -> dict[str, State]:
        """Return the state of each image."""
        return {name: self._states[name] for name in self._images}

    def without_image(self) -> list[Path]:
        """Return the masks and records of strokes whose image is gone, in order."""
        records = (
            path
            for path in self._strokes.rglob(f"*{SUFFIX}")
            if path.relative_to(self._strokes).as_posix().removesuffix(SUFFIX) not in self._images
        )
        return [*self._masks.without_image(), *sorted(records)]

    def image_path(self, name: str) -> Path:
        """Return the file of an image.

        Raises:
            UserError: If the image does not exist.
        """
        path = self._images.get(name)
        if path is None:
            raise UserError(f"no image {name!r} in {self._images_folder}")
        return path

    def open(self, name: str) -> Outcome:
        """Look at an image, as it is now.

        Raises:
            ForeignMaskError: If it has a mask that was made elsewhere.
            UserError: If it is gone or was changed, or its record is damaged.
        """
        record = self._record(name)
        self._check_mask(name, record)
        return self._outcome(name, record, None)

    def look_at(self, name: str) -> Outcome:
        """Look at an image, also where its mask was made elsewhere.

        Raises:
            UserError: If it is gone or was changed, or its record is damaged.
        """
        return self._outcome(name, self._record(name), None)

    def shape(self, name: str) -> tuple[int, int]:
        """Return the height and width of an image."""
        return self._record(name).image.shape

    def version(self, name: str) -> int:
        """Return the version of an image as last known; no file is read.

        Raises:
            UserError: If the image does not exist.
        """
        self.image_path(name)
        return self._versions.get(name, 0)

    def versions(self) -> dict[str, int]:
        """Return the version of each image that somebody labelled."""
        return {name: self._versions[name] for name in self._images if self._versions.get(name)}

    def labels(self, name: str) -> tuple[int, UInt8[ndarray, "height width"]]:
        """Return the version of an image and its labels; see `layers` for their values."""
        record = self._record(name)
        return record.version, record.layers.labels

    def change(self, change: Change, operation: Operation | None) -> Outcome:
        """Save and apply an operation; None changes nothing.

        Raises:
            StaleError: If the image has changed since it was looked at.
            ForeignMaskError: If it has a mask that was made elsewhere.
            UserError: If it cannot be saved.
        """
        return self._change(change, lambda record: operation and record.add(operation, change.id))

    def step(self, change: Change, kind: Literal["undo", "redo"]) -> Outcome:
        """Undo or redo the last operation of an image.

        Raises:
            UserError: As `change`, and if there is nothing to undo or redo.
        """
        return self._change(change, lambda record: record.step(kind, change.id))

    def mark(self, change: Change, is_done: bool) -> Outcome:
        """Note that an image is done, or not.

        Raises:
            UserError: As `change`.
        """
        return self._change(change, lambda record: record.mark(is_done, change.id))

    def take_mask(self, change: Change, *, keep_labels: bool) -> Outcome:
        """Let our mask replace one that was made elsewhere; a copy of it is kept.

        Args:
            change: Names the image, and the version of it that was looked at.
            keep_labels: Begin with the labels of that mask, in place of all that was painted; else
                they are in the copy alone.

        Raises:
            StaleError: As `change`.
            UserError: If the mask cannot be read, or has another size than the image.
        """
        record = self._record(change.image)
        record.check_version(change.version)
        path = self._masks.find(change.image, self.image_path(change.image).name)
        if path is None:
            return self._outcome(change.image, record, None)
        operation = self._read_mask(change.image, path, record) if keep_labels else None
        if operation is not None:
            record.add(operation, change.id)
        else:
            record.mark(record.is_done, change.id)
        self._note_change(change.image, record)
        self._masks.replace_other(change.image, path)  # last: before it, a kill leaves the question
        return self._outcome(change.image, record, (0, 0, *record.image.shape))

    def add_class(self, count: int, name: str, color: tuple[int, int, int] | None) -> Classes:
        """Add a class at the end of `classes.yaml`; the file of somebody else is copied first.

        Args:
            count: Number of classes that the user saw.
            name: Name of the new class.
            color: RGB; if None, one that differs from the others.

        Raises:
            StaleError: If there are others by now.
            UserError: If the class cannot be added.
        """
        known, path = len(self.classes or ()), self.root / CLASSES_FILE
        if count != known:
            raise StaleError(f"there are {known} classes by now; look at the list and add yours")
        if read_class_list(self.root) != self.classes:
            raise StaleError(f"{path} was changed meanwhile; look at the list and add yours")
        classes = with_class(self.classes, name, color)
        self._ids.adopt(classes)
        if not self._files.is_ours(path):
            self._files.release(path)
        self._files.write(path, classes.to_yaml().encode())
        self.classes = classes
        return classes

    def write_masks(self) -> dict[str, str]:
        """Write the masks of all images that changed, and the lists of images.

        Returns:
            What went wrong, in one line: by the image, or by `LISTS` for the lists.
        """
        problems = {}
        for name in sorted(self._unwritten):
            try:
                self._write_mask(name)
            except ForeignMaskError:
                pass  # the page asks about it
            except UserError as error:
                problems[name] = str(error)
                continue
            self._unwritten.discard(name)
        try:
            self._list_labelled()
        except UserError as error:
            problems[LISTS] = str(error)
        return problems

    def _change(self, change: Change, make: Callable[[ImageRecord], Box | None]) -> Outcome:
        record = self._record(change.image)
        if record.repeats(change.id):
            return self._outcome(change.image, record, (0, 0, *record.image.shape))
        record.check_version(change.version)
        self._check_mask(change.image, record)
        before = record.version
        box = make(record)
        if record.version > before:
            self._note_change(change.image, record)
        return self._outcome(change.image, record, box)

    def _note_change(self, name: str, record: ImageRecord) -> None:
        self._unwritten.add(name)
        self._versions[name] = record.version
        self._states[name] = "done" if record.is_done else "work"

    def _read_classes(self) -> None:
        """Take over classes that somebody added to the file; the indices of others must stay."""
        classes = read_class_list(self.root)
        if classes == self.classes:
            return
        known = self.classes.names if self.classes else ()
        if classes is None or classes.names[: len(known)] != known:
            raise UserError(
                f"{self.root / CLASSES_FILE} was changed other than by new classes at its end; "
                "stop `label` and start it again"
            )
        self._ids.adopt(classes)
        self.classes = classes

    def _record(self, name: str) -> ImageRecord:
        """Return the record of an image, which is as it was when it was opened."""
        path = self.image_path(name)
        try:
            found = path.stat()
        except OSError:
            raise UserError(f"{path} is missing; restore it: its strokes are kept") from None
        seen = (found.st_mtime_ns, found.st_size)
        record = self._open.get(name)
        if record is None or self._seen.get(name) != seen:
            self._open.pop(name, None)
            record = ImageRecord(self._record_path(name), ImageFacts.read(path), self._ids)
            self._open[name], self._seen[name] = record, seen
            while len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return record

    def _record_path(self, name: str) -> Path:
        path = self._strokes / f"{name}{SUFFIX}"
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{path} leads out of {self.root} through a link; remove the link")
        return path

    def _read_state(self, name: str) -> State:
        try:
            entries, _ = read_journal(self._record_path(name))
        except UserError:
            return "work"  # opening the image says what is wrong
        self._versions[name] = max(len(entries) - 1, 0)
        if len(entries) < 2:
            has_mask = self._masks.find(name, self._images[name].name) is not None
            return "given" if has_mask else "new"
        if self._masks.is_outdated(name, len(entries) - 1):
            self._unwritten.add(name)
        marks = [entry["done"] for entry in entries if entry.get("kind") == "mark"]
        return "done" if marks and marks[-1] else "work"

    def _check_mask(self, name: str, record: ImageRecord) -> None:
        """Refuse an image whose mask did not come from its record."""
        path = self._masks.find(name, self._images[name].name)
        if path is not None and (record.version == 0 or not self._files.is_ours(path)):
            raise ForeignMaskError(
                f"{path} was made or changed elsewhere, and is not replaced unasked; begin with "
                "its labels, or replace it (a copy is kept in strokes/before)"
            )

    def _read_mask(self, name: str, path: Path, record: ImageRecord) -> Operation:
        if self.classes is None:
            raise UserError(
                f"{path} cannot be read without {CLASSES_FILE}, which maps its values to "
                "classes; `segmenter check FOLDER --draft` writes one"
            )
        item = Item(name, record.image.path, path)
        labels = read_labels(item, self.classes)
        check_sizes(item, record.image.shape, (labels.shape[0], labels.shape[1]))
        is_class = labels < len(self.classes)
        return Acceptance.of_mask(np.where(is_class, labels, NOTHING).astype(np.uint8))

    def _write_mask(self, name: str) -> None:
        record = self._record(name)
        labels = record.layers.labels
        is_empty = bool((labels >= NOT_SURE).all())
        has_mask = self._masks.find(name, record.image.path.name) is not None
        if self.classes is None or (is_empty and not has_mask):
            return
        self._check_mask(name, record)
        self._masks.write(name, mask_png(labels, self.classes), record.version)

    def _list_labelled(self) -> None:
        reader = ListReader(
            self.root,
            FileNames(self._images_folder),
            FileNames(self._masks.folder, IMAGE_SUFFIXES),
        )
        self._masks.list_labelled(self._images.items(), reader.find_lists())

    def _outcome(self, name: str, record: ImageRecord, box: Box | None) -> Outcome:
        layers = record.layers
        return Outcome(record.version, box, layers.can_undo, layers.can_redo, self._states[name])


@contextmanager
def open_label_folder(root: Path) -> Iterator[LabelFolder]:
    """Open a folder to label it, keep other processes out of it, and write its masks at the end.

    Raises:
        UserError: If the folder cannot be written, is labelled by another process, or holds no
            images.
    """
    if not root.is_dir():
        raise UserError(f"no such folder: {root}; give a folder with images in {root}/images")
    find_image_folder(root)
    strokes = root / STROKES
    try:
        strokes.mkdir(exist_ok=True)
        # Not emptied, and no link followed: it could be anybody's file.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        lock = os.open(strokes / ".lock", flags, 0o644)
    except OSError as error:
        raise UserError(
            f"{strokes} cannot be written: {error.strerror}; strokes and masks are saved in the "
            "folder that is labelled: give one that you may write"
        ) from None
    try:
        if not filelock.lock_descriptor(lock, blocking=False):
            raise UserError(f"{root} is labelled by another process; stop it, or use its page")
        folder = LabelFolder(root)
        _warn(folder.write_masks())
        yield folder
        _warn(folder.write_masks())
    finally:
        os.close(lock)


def _warn(problems: dict[str, str]) -> None:
    """Say which masks are not written; the next start tries again."""
    if problems:
        first = next(iter(problems.values()))
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        show(f"warning: {first}{more}; all strokes are saved, and the next start tries again")


def find_image_folder(root: Path) -> Path:
    """Return the folder of images in a data set.

    Raises:
        UserError: If it has none.
    """
    name = next((name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    if name is not None:
        return root / name
    has_images = any(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir())
    fix = "move its images into" if has_images else "put images into"
    raise UserError(f"{root} has no folder 'images'; {fix} {root / 'images'}")
