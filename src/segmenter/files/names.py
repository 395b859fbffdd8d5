"""Which texts can be names or paths."""

import os
from pathlib import Path

_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4095  # what file systems of Linux, macOS, Windows allow


def text_problem(text: str) -> str | None:
    """Return why a text cannot be a name or a path, or None if it can."""
    if not text.strip():
        return "is empty; give it a value, or omit it"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return f"may hold no control characters, got {shortened(text)}"
    return path_problem(text)


def path_problem(path: str | Path) -> str | None:
    """Return why no file system can have a path, or None if one can; names may be odd."""
    text = str(path)
    if "\0" in text:
        return f"holds a null byte, which no name can; got {shortened(text)}"
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return f"is not a text that can be written, got {shortened(text)}"
    longest = max(len(part) for part in encoded.split(b"/"))
    if longest > _MAX_NAME_BYTES or len(encoded) > _MAX_PATH_BYTES:
        return (
            f"is longer than a name of a file can be: {longest} bytes between slashes and "
            f"{len(encoded)} in all, of which {_MAX_NAME_BYTES} and {_MAX_PATH_BYTES} are allowed"
        )
    return None


def shortened(text: str) -> str:
    """Return a text in quotes, and not more than its beginning."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")
