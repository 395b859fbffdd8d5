"""What a person names is read if it is a file; a pipe or a device is refused at once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from segmenter.classes.__init__ import read_classes
from segmenter.data.pairing.list_text import read_lines
from segmenter.errors import UserError
from segmenter.files.manifest import MANIFEST_NAME, written_names
from segmenter.files.regular import read_regular
from segmenter.files.yaml import read_yaml
from tests.helpers.skips import NOT_HERE

DEVICE = Path("/dev/zero")
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason=f"{NOT_HERE}: named pipes")


@needs_pipes
@pytest.mark.parametrize("read", [read_yaml, read_classes, read_lines])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused_at_once(
    read: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    path = DEVICE
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be read: it is a device or a pipe"):
        read(path)


@needs_pipes
def test_a_pipe_in_the_place_of_a_manifest_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST_NAME)
    with pytest.raises(UserError, match="it is a device or a pipe"):
        written_names(tmp_path)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_regular(path) == read_regular(path, 3) == b"abc"
    with pytest.raises(OSError, match="larger than 2 bytes"):
        read_regular(path, 2)
