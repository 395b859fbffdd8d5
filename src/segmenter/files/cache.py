"""Keep results that take seconds to compute in the user's cache folder.

Each entry begins with the SHA-256 of its key, and of key and content together: what is damaged, or
was put under another key, is made anew. Nothing is read or written where others could write, and
nothing but regular files of a bounded size.
Entries are written aside and renamed, so that processes can share the folder. The folder has a
bounded size: the entries that were used longest ago go first.
"""

import contextlib
import functools
import hashlib
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

_MAGIC = b"segmenter cache 2\n"
_HASH_BYTES = hashlib.sha256().digest_size
_HEAD_BYTES = len(_MAGIC) + 2 * _HASH_BYTES
_ENTRY_NAME = re.compile(r"[0-9a-f]{64}")
_ASIDE = (".segmenter-", ".tmp")
_ASIDE_NAME = re.compile(re.escape(_ASIDE[0]) + r".*" + re.escape(_ASIDE[1]))
_DAY = 24 * 3600
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
MAX_CONTENT = (1 << 31) + (1 << 26)
"""Bytes of the largest content: a graph has at most 2 GiB."""
MAX_FOLDER = 8 << 30
"""Bytes that all graphs may have together."""

Opened = TypeVar("Opened")
log = logging.getLogger("segmenter.cache")


class _UnfitError(Exception):
    """Reason for which an entry, or the folder, is not used."""


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/segmenter`, or `~/.cache/segmenter`; anything in it may be deleted."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return home / "segmenter"


def token_folder() -> Path:
    """`$XDG_CACHE_HOME/segmenter-tokens`, for what encoders say of images."""
    return cache_folder().with_name("segmenter-tokens")


def entry_path(key: str, folder: Callable[[], Path] = cache_folder) -> Path:
    """Return the path of the entry of a key."""
    return folder() / _hash(key.encode()).hex()


def cached(
    key: str,
    make: Callable[[], bytes],
    use: Callable[[bytes], Opened],
    *,
    max_bytes: int = MAX_CONTENT,
    folder: Callable[[], Path] = cache_folder,
    max_folder: int = MAX_FOLDER,
) -> Opened:
    """Return `use(content)` for the bytes kept under a key, or for those just made, which are kept.

    An entry that is damaged, another key's, no regular file, too large, or refused by `use` is
    made anew, and a line of the log says so; likewise where the folder is not the user's alone.

    Args:
        key: Says all that the bytes depend on.
        make: Called where nothing usable is kept.
        use: Called with the bytes; of kept ones, whatever it raises means that they are useless.
        max_bytes: A larger content is not kept.
        folder: Gives the folder of the entries.
        max_folder: Bytes that all entries may have together; those used longest ago are deleted.
    """
    try:
        kept = _read(key, max_bytes, folder)
    except _UnfitError as reason:
        _say(str(reason))
    else:
        if kept is not None:
            _mark(key, folder)
            try:
                return use(kept)
            except Exception:  # libraries raise what they like on bytes that are not a graph
                _say(f"the cache entry {entry_path(key, folder)} cannot be used; rebuilt")
    made = make()
    try:
        if len(made) <= min(max_bytes, max_folder - _HEAD_BYTES):
            _write(key, made, folder)
            _shrink(folder, max_folder)
    except _UnfitError as reason:  # costs time at the next start only
        _say(str(reason))
    return use(made)


@functools.cache  # each line once
def _say(line: str) -> None:
    log.warning("%s", line)


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _head(key: str, content: bytes) -> bytes:
    """Return the first bytes of an entry."""
    of_key = _hash(key.encode())
    bound = hashlib.sha256(of_key)
    bound.update(content)
    return _MAGIC + of_key + bound.digest()


def _check_folder(folder: Path) -> None:
    """Refuse what is not a folder, another user's, or may be written by others."""
    if not folder.is_dir():
        raise _UnfitError(f"the cache folder {folder} is not a folder; nothing is kept")
    if os.name != "posix":
        return
    for found in (folder.lstat(), folder.stat()):
        if not stat.S_ISLNK(found.st_mode) and found.st_mode & _OTHERS_MAY_WRITE:
            raise _UnfitError(
                f"the cache folder {folder} is not used, since others may write in it; "
                f"`chmod go-w {folder}`"
            )
        if found.st_uid != os.geteuid():
            raise _UnfitError(
                f"the cache folder {folder} is not used, since it is another user's; "
                "set XDG_CACHE_HOME to a folder of your own"
            )


def _read(key: str, max_bytes: int, folder: Callable[[], Path]) -> bytes | None:
    """Return the content of an entry; None if it does not exist.

    Raises:
        _UnfitError: If it cannot be read, or is not to be trusted.
    """
    try:
        path = entry_path(key, folder)
        if not os.path.lexists(path):
            return None
        _check_folder(path.parent)
        return _read_entry(path, key, max_bytes)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        raise _UnfitError(f"the cache cannot be read: {error}") from None


def _read_entry(path: Path, key: str, max_bytes: int) -> bytes:
    """Return the content of an entry that is there, looked at before it is read."""
    if not path.is_file() or path.is_symlink():
        raise _UnfitError(f"the cache entry {path} is not a file; rebuilt")
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):  # it may have been replaced just now
        flags |= getattr(os, name, 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _UnfitError(f"the cache entry {path} is not a file; rebuilt")
        if _is_foreign(found):
            raise _UnfitError(f"the cache entry {path} may be written by others; rebuilt")
        if found.st_size > max_bytes + _HEAD_BYTES:
            raise _UnfitError(f"the cache entry {path} has {found.st_size:,} bytes; rebuilt")
        head = file.read(_HEAD_BYTES)
        content = file.read(max_bytes + 1)
    if head != _head(key, content):
        raise _UnfitError(f"the cache entry {path} is damaged, or of another model; rebuilt")
    return content


def _is_foreign(found: os.stat_result) -> bool:
    """Return True if others than the user can have written it."""
    is_posix = os.name == "posix"
    return is_posix and (found.st_uid != os.geteuid() or bool(found.st_mode & _OTHERS_MAY_WRITE))


def _write(key: str, content: bytes, folder: Callable[[], Path]) -> None:
    """Keep a content, for the user alone.

    Raises:
        _UnfitError: If it cannot be written, or the folder is not to be trusted.
    """
    try:
        path = entry_path(key, folder)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(path.parent)
        descriptor, aside = tempfile.mkstemp(prefix=_ASIDE[0], suffix=_ASIDE[1], dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_head(key, content))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).replace(path)
        finally:
            Path(aside).unlink(missing_ok=True)
    except FileExistsError:
        raise _UnfitError(f"the cache folder {folder()} is not a folder; nothing is kept") from None
    except (OSError, RuntimeError) as error:
        raise _UnfitError(f"nothing is kept for the next start: {error}") from None


def _shrink(folder: Callable[[], Path], max_bytes: int) -> None:
    """Delete the entries of a folder that were used longest ago, until the rest fits.

    Of what killed processes left half written, all that is a day old is deleted. Nothing else is
    deleted; what cannot be is left.

    Args:
        folder: Gives the folder.
        max_bytes: Bytes that all entries may have together.
    """
    entries: list[_File] = []
    for found in _files(folder):
        if _ENTRY_NAME.fullmatch(found.path.name):
            entries.append(found)
        elif _ASIDE_NAME.fullmatch(found.path.name) and time.time() - found.used > _DAY:
            _delete(found)
    total = sum(entry.num_bytes for entry in entries)
    for entry in sorted(entries, key=lambda entry: entry.used):
        if total <= max_bytes:
            break
        total -= entry.num_bytes if _delete(entry) else 0


class _File(NamedTuple):
    """A regular file of a cache folder."""

    path: Path
    num_bytes: int
    used: float
    """When it was written or used last."""


def _files(folder: Callable[[], Path]) -> list[_File]:
    """Return the regular files of a folder; other processes may delete some meanwhile."""
    found = []
    with contextlib.suppress(OSError, RuntimeError):
        for path in folder().iterdir():
            with contextlib.suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):
                    found.append(_File(path, facts.st_size, facts.st_mtime))
    return found


def _delete(file: _File) -> bool:
    """Delete a file; return False if that is not possible."""
    try:
        file.path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _mark(key: str, folder: Callable[[], Path]) -> None:
    """Note that an entry was used now, so that `_shrink` spares it."""
    with contextlib.suppress(OSError, RuntimeError):
        os.utime(entry_path(key, folder))
