"""Wait for what another thread or process does, and never for a time."""

import ctypes
import os
import select
import struct
import time
from collections.abc import Callable
from pathlib import Path

_IN_OPEN, _IN_ISDIR = 0x20, 0x40000000  # of Linux' inotify


def wait_until(is_so: Callable[[], object], seconds: float = 120.0) -> None:
    """Look again and again until something is so; fail if it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.01)


def wait_until_read(folder: Path, seconds: float = 120.0) -> None:
    """Return as soon as anyone opens a file in a folder (Linux)."""
    libc = ctypes.CDLL(None)
    events = libc.inotify_init()
    try:
        assert libc.inotify_add_watch(events, os.fsencode(folder), _IN_OPEN) >= 0
        deadline = time.monotonic() + seconds
        while select.select([events], [], [], max(0.0, deadline - time.monotonic()))[0]:
            found = os.read(events, 4096)
            while found:
                _, kind, _, length = struct.unpack_from("iIII", found)
                if not kind & _IN_ISDIR:
                    return
                found = found[16 + length :]
        raise AssertionError(f"nothing in {folder} was read within {seconds:g} s")
    finally:
        os.close(events)


def work_for(seconds: float) -> None:
    """Take a time, as the work does that a test stands in for."""
    time.sleep(seconds)
