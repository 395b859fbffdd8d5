"""Images that turn out to be unreadable during training: told once, counted, and limited."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from segmenter.errors import UserError


class Unreadable(NamedTuple):
    """An image that could not be read; another one took its place in the stream."""

    image: str
    """Path of the image."""
    reason: str


class UnreadableImages:
    """Keep count of the images that a run could not read.

    Args:
        log: A line of JSON is added for each; those that are in it are not told again.
        limit: How many different images may be unreadable.
        say: Shows a line for each image, once.
    """

    def __init__(self, log: Path, limit: float, say: Callable[[str], None]) -> None:
        self._log = log
        self._limit = limit
        self._say = say
        self._told = _read_log(log)
        self._found: set[str] = set()

    def note(self, found: Unreadable) -> None:
        """Count an image.

        Raises:
            UserError: If there are more than the limit.
        """
        if found.image in self._found:
            return
        self._found.add(found.image)
        if found.image not in self._told:
            self._say(f"warning: {found.reason}; another image takes its place")
            with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found._asdict()) + "\n")
        if len(self._found) > self._limit:
            raise UserError(
                f"{len(self._found)} images cannot be read, more than data.max_unreadable allows; "
                f"{self._log} names them: repair them, and continue with --resume (with "
                "--allow-config-change if you remove them)"
            )


def _read_log(path: Path) -> set[str]:
    images = set()
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                images.add(json.loads(line)["image"])
    return images
