"""The folder of a run: nothing else in it, one process at a time, and room for what is saved.

What would make a save fail is found before the first step.
"""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock

from segmenter.data.trained_on import TRAINED_ON
from segmenter.errors import UserError

CHECKPOINTS = "checkpoints"
_REPLACED = (
    "last.safetensors",
    "best.safetensors",
    "log.jsonl",
    "log.csv",
    "curves.html",
    TRAINED_ON,
)
"""Files that are written anew: a link in their place is replaced, not followed."""
_LOCK, _RECIPE = ".lock", "recipe.yaml"
_OPENED = ("unreadable.jsonl", "trackers.json", _LOCK)
_TRACKERS = {"trackers.json", "tensorboard", "wandb", "mlflow"}
_FIRST = {_LOCK, _RECIPE, TRAINED_ON, CHECKPOINTS, "log.jsonl", "log.csv", "curves.html"}
"""Files that a run may have written before its first checkpoint, besides those of trackers."""


def check_run_folder(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that a run cannot have for itself, or cannot save in.

    Raises:
        UserError: If it holds another run or other files, if it holds no run to resume, or if
            something is in the way of what will be written.
    """
    try:
        _check_is_own(folder, resume=resume)
        _check_nothing_in_the_way(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be used: {error.strerror}; give another --out") from None


def never_saved(folder: Path) -> bool:
    """Return True for a run that ended before its first checkpoint: it may start again.

    A folder that no run has locked is not one.
    """
    paths = [*folder.iterdir()] if folder.is_dir() else []
    names = {path.name for path in paths if not path.match(".segmenter-*.tmp")}
    log, saved = folder / "log.jsonl", (folder / CHECKPOINTS).glob("*")
    return (
        _LOCK in names
        and names <= _FIRST | _TRACKERS
        and all(path.match(".step-*") for path in saved)
        and not (log.is_file() and log.stat().st_size)
    )


def _check_is_own(folder: Path, *, resume: bool) -> None:
    in_the_way = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if in_the_way:
        raise UserError(f"{in_the_way} is a file; give another folder with --out")
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder} is not a folder; remove it, or give another one with --out")
    has_run = (folder / _RECIPE).is_file()
    if resume and not has_run:
        raise UserError(f"nothing to resume in {folder}: it holds no run; start without --resume")
    if resume or never_saved(folder):
        return
    if has_run:
        raise UserError(f"{folder} holds a run; continue with --resume, or give another --out")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds files; a run needs a new folder: give another --out")


def _check_nothing_in_the_way(folder: Path) -> None:
    checkpoints = folder / CHECKPOINTS
    if os.path.lexists(checkpoints) and not checkpoints.is_dir():
        raise UserError(
            f"{checkpoints} is not a folder, and checkpoints go there; move it away, and put the "
            "folder of this run back if it has one"
        )
    for name in (*_REPLACED, *_OPENED):
        path = folder / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(mode) and not (stat.S_ISLNK(mode) and name in _REPLACED):
            raise UserError(
                f"{path} is not a regular file, and the run writes one there; move it away"
            )


@contextlib.contextmanager
def own_folder(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Make the run's folder, and keep other processes from writing into it meanwhile.

    Raises:
        UserError: If it cannot be written, or another process has it.
    """
    path = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not emptied, and no link followed: it could be anybody's file.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        lock = os.open(path, flags, 0o644)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        _lock(lock, folder, say)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path, say: Callable[[str], None]) -> None:
    """Lock an open file until it is closed or the process ends, however it does."""
    try:
        is_free = filelock.lock_descriptor(lock, blocking=False)
    except OSError as error:
        say(
            f"warning: {folder} cannot be locked ({error.strerror}); see that no other process "
            "writes into it"
        )
        return
    if not is_free:
        raise UserError(
            f"{folder} is in use by another process; wait for it, or give another --out"
        )


def check_room(folder: Path, sizes: Sequence[int]) -> None:
    """Refuse to start where the next save would fail: take the space of one, and give it back.

    Args:
        folder: Folder of the run.
        sizes: Bytes of each file of a checkpoint.

    Raises:
        UserError: If the folder cannot be written, or the disk, a quota or a limit is too small.
    """
    checkpoints = folder / CHECKPOINTS
    try:
        checkpoints.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".step-room-", dir=checkpoints) as room:
            for number, size in enumerate(sizes):
                _take(Path(room) / str(number), size)
        with tempfile.NamedTemporaryFile(prefix=".segmenter-", suffix=".tmp", dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"no checkpoint can be saved in {folder}: {error.strerror}; one takes "
            f"{sum(sizes) / 2**20:.0f} MiB: make room, or give another --out"
        ) from None


def _take(path: Path, size: int) -> None:
    with path.open("xb") as file:
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system cannot
                    raise
