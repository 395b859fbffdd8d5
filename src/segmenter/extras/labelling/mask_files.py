"""The masks of a folder that is labelled: which there are, and which of them are ours to replace.

A file whose content we wrote, or may replace, is ours; it stays so until somebody changes
it. What is replaced for the first time is kept in `strokes/before`.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from segmenter.data.decoding.image_formats import MASK_SUFFIXES
from segmenter.data.pairing.layouts import MASK_FOLDERS, mask_names
from segmenter.data.pairing.lists import is_split_name
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError
from segmenter.extras.labelling.journal import Journal
from segmenter.files.outputs import write_atomically
from segmenter.files.regular import read_regular

STROKES = "strokes"
BEFORE = "before"


class ForeignMaskError(UserError):
    """A mask that was made elsewhere, and that nobody told us to replace."""


class OwnFiles:
    """Files in a data set that we may replace.

    Args:
        root: The data set.
        strokes: Its folder of strokes, where the record is.
    """

    def __init__(self, root: Path, strokes: Path) -> None:
        self._root, self._before = root, strokes / BEFORE
        self._journal = Journal(strokes / ".written")
        self._known: dict[str, set[str]] = {}
        self._newest: dict[str, tuple[str, int]] = {}
        for entry in self._journal.entries:
            self._remember(entry["file"], entry["sha256"], entry["version"])

    def is_ours(self, path: Path) -> bool:
        """Return True if the file does not exist, or we may replace it."""
        content = _content(path)
        return content is None or _digest(content) in self._known.get(self._name(path), set())

    def write(self, path: Path, content: bytes, version: int = 0) -> None:
        """Write a file whole.

        Raises:
            ForeignMaskError: If another is in its place.
            UserError: If it cannot be written.
        """
        if not self.is_ours(path):
            raise ForeignMaskError(
                f"{path} was made or changed elsewhere, and is not replaced unasked"
            )
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise UserError(f"{path} leads out of {self._root} through a link; remove the link")
        self._note(path, content, version)  # first, so that a kill in between leaves a file of ours
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path.parent} cannot be created: {error.strerror}") from None
        write_atomically(path, content)

    def is_outdated(self, path: Path, version: int) -> bool:
        """Return True if a file is missing, or is ours and not what this version of it was.

        A file that cannot be read counts too: the attempt to write it says why.
        """
        try:
            content = _content(path)
        except UserError:
            return True
        if content is None:
            return True
        name, digest = self._name(path), _digest(content)
        is_ours = digest in self._known.get(name, set())
        return is_ours and self._newest[name] != (digest, version)

    def release(self, path: Path) -> None:
        """Keep a copy of a file in `strokes/before`, and take it as one that we may replace.

        Raises:
            UserError: If that cannot be written.
        """
        content = _content(path)
        if content is None:
            return
        name = Path(self._name(path))
        copy = self._before / name.with_name(f"{name.stem}-{_digest(content)[:8]}{name.suffix}")
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{copy.parent} cannot be created: {error.strerror}") from None
        write_atomically(copy, content)
        self._note(path, content, 0)

    def _note(self, path: Path, content: bytes, version: int) -> None:
        name, digest = self._name(path), _digest(content)
        self._journal.append({"file": name, "sha256": digest, "version": version})
        self._remember(name, digest, version)

    def _remember(self, name: str, digest: str, version: int) -> None:
        self._known.setdefault(name, set()).add(digest)
        self._newest[name] = digest, version

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


class MaskFiles:
    """The masks of a data set by the names of their images.

    Args:
        root: The data set.
        files: Which of its files are ours.
    """

    def __init__(self, root: Path, files: OwnFiles) -> None:
        names = (name for name in MASK_FOLDERS if (root / name).is_dir())
        self.folder = root / next(names, "masks")
        self._root, self._files = root, files
        self._found: dict[str, Path] = {}
        self._images: Mapping[str, Path] = {}

    def look(self, images: Mapping[str, Path]) -> None:
        """Find the masks that there are now.

        Args:
            images: All images by their names.
        """
        self._found, self._images = {}, images
        if self.folder.is_dir():
            for path in walk_images(self.folder, suffixes=MASK_SUFFIXES):
                name = path.relative_to(self.folder).with_suffix("").as_posix()
                self._found.setdefault(name, path)

    def find(self, name: str, file_name: str) -> Path | None:
        """Return the mask of an image, if there is one."""
        found = mask_names(name, file_name, self._found, self._images)
        return self._found[found[0]] if found else None

    def without_image(self) -> list[Path]:
        """Return the masks that belong to none of the images, in order."""
        taken = {self.find(name, image.name) for name, image in self._images.items()}
        return sorted(path for path in self._found.values() if path not in taken)

    def path(self, name: str) -> Path:
        """Return the path of the mask that we write for an image."""
        return self.folder / f"{name}.png"

    def is_outdated(self, name: str, version: int) -> bool:
        """Return True if the mask of an image has to be written from this version of its record."""
        return self._files.is_outdated(self.path(name), version)

    def write(self, name: str, png: bytes, version: int) -> None:
        """Write the mask of an image.

        Raises:
            ForeignMaskError: If another is in its place.
            UserError: If it cannot be written.
        """
        self._files.write(self.path(name), png, version)
        self._found[name] = self.path(name)

    def replace_other(self, name: str, other: Path) -> None:
        """Make room for our mask of an image: keep a copy of another one, and take it away.

        Raises:
            UserError: If the copy cannot be written.
        """
        self._files.release(other)
        if other != self.path(name):  # two masks of one image would contradict
            other.unlink(missing_ok=True)
            self._found.pop(other.relative_to(self.folder).with_suffix("").as_posix(), None)

    def list_labelled(self, images: Iterable[tuple[str, Path]], lists: Collection[Path]) -> None:
        """Write a list for each split while some images have no mask: it names those that have one.

        Images in a folder such as `val` are of this split, all others of `train`. Where somebody
        else wrote a list, none is written.

        Args:
            images: Names and files.
            lists: Those that there are.

        Raises:
            UserError: If a list cannot be written.
        """
        rows: dict[Path, list[str]] = {}
        is_complete = True
        for name, image in images:
            mask = self.find(name, image.name)
            is_complete = is_complete and mask is not None
            if mask is not None:
                pair = (each.relative_to(self._root).as_posix() for each in (image, mask))
                rows.setdefault(self._root / _list_name(name), []).append("\t".join(pair))
        if not all(map(self._files.is_ours, {*lists, *rows})):
            return
        for path, lines in rows.items():
            content = ("\n".join(lines) + "\n").encode()
            if (lists or not is_complete) and _content(path) != content:
                self._files.write(path, content)


def find_masks(root: Path, images: Mapping[str, Path]) -> MaskFiles:
    """Return the masks that there are in a data set, to read."""
    masks = MaskFiles(root, OwnFiles(root, root / STROKES))
    masks.look(images)
    return masks


def _list_name(name: str) -> str:
    folder, _, inside = name.partition("/")
    return f"{folder}.txt" if inside and is_split_name(folder) else "train.txt"


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
