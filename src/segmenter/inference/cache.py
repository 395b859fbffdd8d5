"""What took seconds to make and can be made again, kept in the user's cache folder.

Each entry is a file that begins with the SHA-256 of the rest: a damaged one counts as missing.
Entries are written aside and renamed, so that processes can share the folder.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from segmenter.errors import UserError
from segmenter.outputs import write_atomically

_HASH_BYTES = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/segmenter`, or `~/.cache/segmenter`; anything in it may be deleted."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return home / "segmenter"


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """The bytes kept under a key, or those just made, which are kept if the disk allows it.

    Args:
        key: Says all that the bytes depend on.
        make: Called where nothing whole is kept.
    """
    path = cache_folder() / hashlib.sha256(key.encode()).hexdigest()
    kept = _read(path)
    if kept is not None:
        return kept
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, hashlib.sha256(made).digest() + made)
    except (OSError, UserError):
        pass  # a full disk or a folder that may not be written costs time at the next start only
    return made


def forget(key: str) -> None:
    """Drop an entry that is whole, but cannot be used."""
    (cache_folder() / hashlib.sha256(key.encode()).hexdigest()).unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """The bytes of an entry; none if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    kept = content[_HASH_BYTES:]
    return kept if hashlib.sha256(kept).digest() == content[:_HASH_BYTES] else None
