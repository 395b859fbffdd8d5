"""Downloads that resume where they stopped, and files compared with what is known of them."""

import hashlib
import http.client
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from segmenter.errors import UserError
from segmenter.files.outputs import write_atomically

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte

Progress = Callable[[int, int | None], None]
"""Told how many bytes are done, of how many (None: the server does not say)."""


def download(url: str, path: Path, sha1: str | None, on_bytes: Progress) -> str:
    """Download a file; what an earlier call left in `path`.part is gone on with.

    Args:
        url: Where it is.
        path: Where it goes; must not be there yet.
        sha1: What its SHA-1 must be, where it is known.
        on_bytes: Called as bytes arrive.

    Returns:
        The file's SHA-256, which is also written beside it.

    Raises:
        UserError: If the server does not answer or stops, if the file is not the known one, or if
            it cannot be written.
    """
    if os.path.lexists(path):
        raise UserError(f"{path} exists; a download never replaces a file")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, on_bytes)
    except HTTPError as error:
        raise UserError(f"{url} cannot be downloaded: {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"{url} cannot be downloaded: {getattr(error, 'reason', error)}; run the same command "
            "again to continue"
        ) from None
    try:
        digest = verify(part, sha1, record=path)
    except UserError:
        part.unlink()  # else the next run would continue it
        raise
    part.rename(path)
    _validator_file(part).unlink(missing_ok=True)
    return digest


def verify(file: Path, sha1: str | None, record: Path | None = None) -> str:
    """Compare a file with its published SHA-1, and with the SHA-256 of the first time.

    Args:
        file: The file.
        sha1: None where it is not known.
        record: The path whose `.sha256` holds or gets the hash; None: that of the file itself.

    Returns:
        Its SHA-256.

    Raises:
        UserError: If it is another file.
    """
    hashes = {"SHA-1": hashlib.sha1(usedforsecurity=False), "SHA-256": hashlib.sha256()}
    try:
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                for each in hashes.values():
                    each.update(chunk)
        note = (record or file).with_name(f"{(record or file).name}.sha256")
        recorded = note.read_text(encoding="utf-8").split()[:1] if note.is_file() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    found = {name: each.hexdigest() for name, each in hashes.items()}
    expected = {"SHA-1": sha1, "SHA-256": recorded[0] if recorded else None}
    for name, known in expected.items():
        if known is not None and found[name] != known:
            raise UserError(
                f"{file} is not the file it should be: its {name} is {found[name]}, expected "
                f"{known}; it was cut, damaged or changed: remove it and get it again"
            )
    if not recorded:
        write_atomically(note, f"{found['SHA-256']}  {(record or file).name}\n".encode())
    return found["SHA-256"]


def _fetch(url: str, part: Path, on_bytes: Progress) -> None:
    """Bring a partial file to its full length; start again where the file on the server changed."""
    validator_file = _validator_file(part)
    validator = validator_file.read_text(encoding="latin-1") if validator_file.is_file() else ""
    done = part.stat().st_size if validator and part.is_file() else 0
    headers = {"Range": f"bytes={done}-", "If-Range": validator} if done else {}
    try:
        response: Any = urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        # The whole of it is here, and only its name was not yet given.
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{done}":
            return
        raise
    with response:
        if response.status != 206:
            done = 0
            tag = response.headers.get("ETag", "")
            # A weak tag may not be asked with.
            strong = tag if tag and not tag.startswith("W/") else None
            chosen = strong or response.headers.get("Last-Modified", "")
            write_atomically(validator_file, chosen.encode("latin-1"))
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise OSError("the server sent another part of the file than was asked for")
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                on_bytes(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise OSError(f"it stopped after {done} of {total} bytes")


def _validator_file(part: Path) -> Path:
    """File that keeps the server's mark of this version of the file meanwhile."""
    return part.with_name(f"{part.name}.version")
