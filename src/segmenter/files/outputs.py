"""Writing files so that none is ever half written, deleted, or replaced without leave."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

from segmenter.errors import UserError
from segmenter.files.manifest import MANIFEST_NAME, RECORDS_NAME, Content, Manifest, Notes

_SYNC_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file aside, force it to the disk, then rename it: whole or not there at all.

    Args:
        path: The file; one that is there is replaced.
        data: Its whole content.
        sync: Wait for the disk. Without, thousands of files are quick, and a power cut (no other
            stop) may leave one empty.

    Raises:
        UserError: If the disk is full, the folder is missing or may not be written, and the like.
    """
    # The name does not grow with `path`: a name of the longest length must still work.
    temporary = path.parent / f".segmenter-{secrets.token_hex(8)}.tmp"
    with _replacing(path, temporary, sync=sync):
        _write_bytes(temporary, data, sync=sync)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, and force it to the disk."""
    _write_bytes(path, data, sync=True)


def write_new(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file that must not be there yet, unless `overwrite`.

    Raises:
        UserError: If the file exists, or cannot be written.
    """
    check_new(path, overwrite=overwrite)
    write_atomically(path, data)


def write_json(path: Path, content: object, *, overwrite: bool) -> None:
    """Write plain values as JSON, as `write_new` does."""
    write_new(path, json.dumps(content, indent=1).encode(), overwrite=overwrite)


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is done, what `write_new` would refuse.

    Raises:
        UserError: If the file exists, or its folder does not.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"{path} cannot be written: its folder is missing, or it is a folder")
    if not overwrite and os.path.lexists(path):
        raise UserError(f"{path} exists; give another name, or allow it with --overwrite")
    if path.exists() and not path.is_file():  # renaming over a device would replace it
        raise UserError(f"{path} is not a file that can be replaced; give another name")


def write_new_folder(path: Path, files: Mapping[str, bytes], *, overwrite: bool) -> None:
    """Write a folder of files aside, then rename it: all of them there, or none.

    Args:
        path: The folder, which must not be there yet unless `overwrite`.
        files: Content by name; no folders within.
        overwrite: Replace a folder that holds nothing else than files of these names.

    Raises:
        UserError: If something is in the way, or the folder cannot be written.
    """
    check_new_folder(path, files, overwrite=overwrite)
    aside = path.parent / f".segmenter-{secrets.token_hex(8)}.tmp"
    old = aside.with_suffix(".old")
    try:
        aside.mkdir()
        for name, content in files.items():
            write_atomically(aside / name, content)
        if path.is_dir():
            path.rename(old)
        aside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        if old.exists() and not path.exists():
            old.rename(path)
        raise _cannot_write(path, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def check_new_folder(path: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """Refuse, before any work is done, what `write_new_folder` would refuse.

    Raises:
        UserError: If something is in the way, or the folder above is missing.
    """
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path} cannot be written: its folder is missing")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise UserError(f"{path} exists; give another name, or allow it with --overwrite")
    if path.is_symlink() or not path.is_dir():
        raise UserError(f"{path} is not a folder; give another name")
    strange = {each.name for each in path.iterdir()} - set(names)
    if strange:
        raise UserError(
            f"{path} holds {min(strange)!r}, which would be lost; move it, or give another name"
        )


class OutputFolder:
    """A folder that results are written into, from outside names, without harm to what is there.

    A file that exists is replaced only if an earlier run wrote it and nobody changed it since.
    Nothing is ever deleted, and nothing is written outside the folder.

    Args:
        root: The folder; made when the first file is written.
        overwrite: Replace any file that is in the way.
        notes: Which files are ours; None: a `Manifest` in the folder. Whoever gives their own sees
            to it that no name is used twice, so that a million names need not be remembered.

    Raises:
        UserError: If `root` is a file.
    """

    def __init__(self, root: Path, *, overwrite: bool = False, notes: Notes | None = None) -> None:
        if os.path.lexists(root) and not root.is_dir():
            raise UserError(f"the output folder {root} is a file; give another folder")
        self.root = root
        self.overwrite = overwrite
        self._written: set[str] | None = set() if notes is None else None
        self._lower: dict[str, str] = {}
        """The last name written of those that are one where capitals do not count."""
        self._notes = notes or Manifest(root / MANIFEST_NAME)

    def check(self, names: Iterable[str]) -> None:
        """Refuse, before any work is done, what `write` would refuse.

        Raises:
            UserError: If a name is used twice or leaves the folder, if a file is in the way, or if
                the folder may not be written.
        """
        counts = Counter(names)
        for name, count in counts.items():
            if count > 1:
                raise UserError(f"{count} outputs would have the name {name!r}; names must differ")
            self._free_path(name)
        ancestors = (self.root, *self.root.absolute().parents)
        existing = next(path for path in ancestors if os.access(path, os.F_OK))
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise UserError(f"the output folder {self.root} cannot be written: see {existing}")

    def write(self, name: str, data: bytes) -> Path:
        """Write one file, and note in the manifest that it is ours.

        Args:
            name: Path inside the folder, with `/` between its parts.
            data: Its whole content.

        Raises:
            UserError: If the name was used before or leaves the folder, if a file is in the way, or
                if the file cannot be written.
        """
        path = self._unused_path(name)
        content = _content(data)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The note goes first: a run killed in between leaves a file that is still known.
            self._notes.add(name, content)
        except OSError as error:
            raise _cannot_write(path, error) from None
        write_atomically(path, data)
        self._remember(name)
        return path

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Have a file written that is too large for `write`; nothing is left of a broken attempt.

        Gives the path of a new file beside the output, for the block to write; after it, the file
        is forced to the disk, noted in the manifest, and renamed.

        Args:
            name: As for `write`.

        Raises:
            UserError: As for `write`.
        """
        path = self._unused_path(name)
        temporary = path.parent / f".segmenter-{secrets.token_hex(8)}.tmp{path.suffix}"
        with _replacing(path, temporary, sync=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            self._notes.add(name, _file_content(temporary))
        self._remember(name)

    def _unused_path(self, name: str) -> Path:
        """Return the path of an output that this run has not written yet."""
        if self._written is not None and name in self._written:
            raise UserError(f"two outputs have the name {name!r} in one run; names must differ")
        other = self._lower.get(name.casefold())
        if other is not None and _is_same_file(self.root / other, self.root / name):
            raise UserError(
                f"outputs {other!r} and {name!r} are one file on this disk, where capitals do not "
                "count; rename one input, or give another folder"
            )
        return self._free_path(name)

    def _remember(self, name: str) -> None:
        if self._written is not None:
            self._written.add(name)
            self._lower[name.casefold()] = name

    def _free_path(self, name: str) -> Path:
        """Return the path of an output, after checking that it lies inside and may be written."""
        path = self.root / _checked_name(name)
        try:
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise UserError(
                    f"output {name!r} leads out of {self.root} through a link; remove it"
                )
            if self.overwrite or not os.path.lexists(path):
                return path
            is_ours = path.is_file() and self._wrote(name, path)
        except (OSError, RuntimeError) as error:
            raise _cannot_write(path, error) from None
        if not is_ours:
            raise UserError(
                f"{path} exists and was not written by an earlier run, or was changed since; "
                "give another folder, or replace it with --overwrite"
            )
        return path

    def _wrote(self, name: str, path: Path) -> bool:
        """Return True if a file has a content that we gave it or, as after a power cut, none."""
        known = self._notes.known(name)
        size = path.stat().st_size
        if known and size == 0:
            return True
        return any(size == known_size for known_size, _ in known) and (_file_content(path) in known)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is not there
        return False


def stays_inside(name: str) -> bool:
    """Return True if a name, with `/` between its parts, stays inside a folder on any system."""
    return not (
        any(part in {"", ".", ".."} or PureWindowsPath(part).drive for part in name.split("/"))
        or "\\" in name
        or any(ord(character) < 32 or ord(character) == 127 for character in name)
    )


def _checked_name(name: str) -> str:
    """Refuse names that mean anything else than a file of ours inside the folder."""
    if not stays_inside(name) or name.split("/")[0] in {MANIFEST_NAME, RECORDS_NAME}:
        raise UserError(
            f"output name {name!r} is not allowed: a relative path without '..', drive letters, "
            "backslashes or control characters is; rename the input"
        )
    return name


def _content(data: bytes) -> Content:
    return len(data), hashlib.sha256(data).hexdigest()


def _file_content(path: Path) -> Content:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _replacing(path: Path, temporary: Path, *, sync: bool) -> Iterator[None]:
    """Let the block write a file aside, then rename it; nothing is left of a broken attempt."""
    try:
        yield
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_bytes(path: Path, data: bytes, *, sync: bool) -> None:
    with path.open("xb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _SYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force a folder and all in it to the disk, where the system can.

    Many files at a time: the disk then gathers what they wait for.
    """
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(sync_folder, (folder, *folder.rglob("*"))))  # a file is opened alike


def _cannot_write(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UserError(f"{path} cannot be written: {reason}")
