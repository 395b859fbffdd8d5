"""A record that only grows: each entry is on the disk before it is acknowledged.

One line of JSON for each entry, with a checksum as its last key. What a kill or a power cut leaves
half written at the end was never acknowledged; it is left out and written over.
"""

import json
import os
import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from segmenter.errors import UserError
from segmenter.files.outputs import sync_folder
from segmenter.files.regular import read_regular

Entry = dict[str, Any]

_CHECKSUM = re.compile(rb'(.*),"crc":"([0-9a-f]{8})"\}', re.DOTALL)


class Journal:
    """A record on the disk.

    Args:
        path: The file; made when the first entry is written.

    Raises:
        UserError: If the file cannot be read, or is damaged before its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries, self._num_bytes = read_journal(path)

    def append(self, *entries: Entry) -> None:
        """Write entries at the end and wait until the disk has them.

        Raises:
            UserError: If that fails; the record is then as it was.
        """
        data = b"".join(map(_line, entries))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not os.path.lexists(self.path)
            self._write(data)
            if is_new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written: {error.strerror}; the last stroke is not saved, "
                "all before it are"
            ) from None
        self._num_bytes += len(data)
        self.entries.extend(entries)

    def _write(self, data: bytes) -> None:
        # No link is followed: it could lead to anybody's file.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(self.path, flags, 0o644), "r+b") as file:
            file.truncate(self._num_bytes)  # less what a kill left half written
            file.seek(self._num_bytes)
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(self._num_bytes)
                raise


def read_journal(path: Path) -> tuple[list[Entry], int]:
    """Return the whole entries of a record, and the number of bytes that hold them.

    Raises:
        UserError: If it cannot be read, or a line before the last is damaged.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    entries: list[Entry] = []
    begin = 0
    while (end := data.find(b"\n", begin)) >= 0:
        entry = _entry(data[begin:end])
        if entry is None:
            if any(_entry(line) is not None for line in data[end + 1 :].split(b"\n")):
                raise UserError(
                    f"{path}, line {len(entries) + 1} is damaged; bring the file back from a copy, "
                    "or delete this line and those after it to keep the strokes before it"
                )
            break
        entries.append(entry)
        begin = end + 1
    return entries, begin


def _line(entry: Entry) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()[:-1]
    return text + b',"crc":"%08x"}\n' % zlib.crc32(text)


def _entry(line: bytes) -> Entry | None:
    """Return the entry of a line; None if it is not whole."""
    found = _CHECKSUM.fullmatch(line)
    if found is None or zlib.crc32(found[1]) != int(found[2], 16):
        return None
    return json.loads(found[1] + b"}")
