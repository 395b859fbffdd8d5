"""Reading ahead needs no room in /dev/shm, and nothing that a reader does holds a process up."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter.data import readers
from segmenter.data.folder import open_folder
from segmenter.data.loading import SampleStream, bytes_ahead, make_loader
from segmenter.data.readers import shared_memory_note
from segmenter.data.transforms import CropTransform
from segmenter.recipe import AugmentRecipe
from segmenter.training.loop import StopSignals
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE
from tests.helpers.waiting import wait_until

IN_A_PRIVATE_MOUNT = ("unshare", "-rm")

READ = """
import hashlib, subprocess, sys
from pathlib import Path
import numpy as np
from segmenter.extras.checking.reading import inspect_all
from segmenter.data.folder import open_folder
from segmenter.data.loading import SampleStream, make_loader
from segmenter.data.transforms import CropTransform
from segmenter.recipe import AugmentRecipe

def digest(workers):
    batches = make_loader(stream, range(9 * 8), 8, workers, say=print)
    return hashlib.sha256(b"".join(part.numpy() for batch in batches for part in batch)).hexdigest()

folder = open_folder(Path(sys.argv[1]))
items = folder.items("train")
transform = CropTransform(AugmentRecipe(crop_size=512), (0.0, 0.0, 0.0), 255)
counts = np.ones((len(items), 3), dtype=np.int64)
stream = SampleStream(items, folder.classes, transform, 7, pixel_counts=counts)
expected = digest(0)
if __name__ == "__main__":
    for options in ("size=64m", "size=4m", "size=4k", "ro"):
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", "/dev/shm"]
        subprocess.run(mount, check=True)
        assert digest(4) == expected, options
    assert len(list(inspect_all(items, folder.classes, 2))) == len(items)
    print("all equal")
"""


def can_mount() -> bool:
    command = [*IN_A_PRIVATE_MOUNT, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        return subprocess.run(command, capture_output=True, timeout=600).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
def test_batches_are_the_same_with_64_mb_of_dev_shm_or_4_mb_or_a_page_or_none(
    data_set: Path, tmp_path: Path
) -> None:
    if not can_mount():
        pytest.skip(f"{NOT_HERE}: private mounts")
    (tmp_path / "read.py").write_text(READ)
    command = [*IN_A_PRIVATE_MOUNT, sys.executable, str(tmp_path / "read.py"), str(data_set)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=REPOSITORY)
    assert ended.stdout == "all equal\n", ended.stderr
    assert ended.stderr == ""


@pytest.fixture
def stream(data_set: Path) -> SampleStream:
    folder = open_folder(data_set)
    items = folder.items("train")
    counts = np.ones((len(items), 3), dtype=np.int64)
    transform = CropTransform(AugmentRecipe(crop_size=32), (0.0, 0.0, 0.0), 255)
    return SampleStream(items, folder.classes, transform, 7, pixel_counts=counts)


def refuse(*_: object) -> None:
    raise OSError(11, "Resource temporarily unavailable")


def equal_to_reading_alone(stream: SampleStream, **settings) -> bool:
    pairs = zip(
        make_loader(stream, range(20), 4, 2, **settings),
        make_loader(stream, range(20), 4),
        strict=True,
    )
    return all(torch.equal(a, b) for mine, other in pairs for a, b in zip(mine, other, strict=True))


def test_batches_are_the_same_where_there_are_no_memory_files(
    stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_memory_file", refuse)
    assert equal_to_reading_alone(stream)


def test_where_no_process_can_be_started_this_one_reads_and_says_so(
    stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
    said: list[str] = []
    assert equal_to_reading_alone(stream, say=said.append)
    assert len(said) == 1
    assert "Resource temporarily unavailable" in said[0]


def test_readers_that_hang_hold_up_neither_a_stop_nor_the_end(stream) -> None:
    with StopSignals() as signals:
        batches = make_loader(
            stream, range(400), 4, 2, is_stopping=lambda: signals.received is not None
        )
        next(batches)
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda pid=process.pid: state_of(pid) == "T")
        os.kill(os.getpid(), signal.SIGINT)
        assert len(list(itertools.islice(batches, 20))) < 20  # those that were on their way
    assert not multiprocessing.active_children()


LEFT_OPEN = (
    READ.split("expected =")[0]
    + """
import multiprocessing, os, signal
batches = make_loader(stream, range(800), 8, 2)
next(batches)
pids = [process.pid for process in multiprocessing.active_children()]
print(*pids, flush=True)
if sys.argv[2] == "stopped":
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
kept = [batches]
"""
)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "how", ["stopped", *(pytest.param(how, marks=SLOW) for how in ("idle", "killed"))]
)
def test_no_reader_outlives_a_process_that_ends_without_a_word(
    data_set: Path, tmp_path: Path, how: str
) -> None:
    (tmp_path / "read.py").write_text(LEFT_OPEN)
    command = [sys.executable, str(tmp_path / "read.py"), str(data_set), how]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=900, cwd=REPOSITORY)
    assert ended.returncode == (-signal.SIGKILL if how == "killed" else 0)
    for pid in map(int, ended.stdout.split()):
        wait_until(lambda pid=pid: state_of(pid) in "Z-")


def state_of(pid: int | None) -> str:
    """The letter that Linux gives to the state of a process; `-` if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "-"


def test_a_small_dev_shm_is_named_with_what_makes_it_larger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    needed = bytes_ahead(8, 512, 3, 8)
    assert needed == 8 * 2 * 8 * (512 * 512 * (3 + 9) + 8)
    assert shared_memory_note(0) is None
    monkeypatch.setattr(readers, "_SHARED_MEMORY", tmp_path / "none")
    assert "/dev/shm" in (note := shared_memory_note(needed) or "")
    assert "0 MiB free, less than the 384 MiB" in note
    assert "--shm-size" in note
