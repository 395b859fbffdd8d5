"""Checkpoints on disk: each is complete or absent, and the newest undamaged one is read."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from segmenter.errors import UserError
from segmenter.files.outputs import sync_folder, write_synced

_NAME = re.compile(r"step-([0-9]{8,})(?:-([0-9]+))?")
"""A step; and a number, where a checkpoint of the same step was there before."""
_PART = re.compile(r"[a-z]+\.safetensors")
_STATE = "state.json"
_KEPT = 2
_MAX_FAILURES_IN_A_ROW = 3
_MAX_STATE_BYTES = 2**30
"""Bytes that the JSON of one takes at most; it names each image of the run."""
_MAX_PART_BYTES = 2**36


class Checkpoint(NamedTuple):
    """Everything that a run needs to resume as if it had never stopped."""

    step: int
    """Updates done."""
    tensors: dict[str, dict[str, Tensor]]
    """File stem (`model`, `optimizer`, `average`) -> name -> tensor."""
    facts: dict[str, Any]
    """JSON: what the run is, and how far it has come."""


class DamagedError(ValueError):
    """A checkpoint is not what was written, or no run can resume from it."""


class CheckpointSaver:
    """Saves checkpoints; a save that fails is a warning, three in a row are an error.

    Args:
        folder: Folder of the checkpoints.
        say: Shows a line when a save fails.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._num_failed = 0

    def save(self, checkpoint: Checkpoint, *, must_work: bool = False) -> bool:
        """Write a checkpoint, or say why it cannot be written.

        Returns:
            Whether it was written.

        Raises:
            UserError: If the third save in a row fails, or one that `must_work`.
        """
        try:
            write_checkpoint(self._folder, checkpoint)
            self._num_failed = 0
            return True
        except OSError as error:
            problem = f"the checkpoint of step {checkpoint.step} cannot be written: {error}"
        self._num_failed += 1
        newest = next(iter(_checkpoints(self._folder)), None)
        kept = f"the newest is {newest}" if newest else "there is none yet"
        if must_work or self._num_failed >= _MAX_FAILURES_IN_A_ROW:
            times = f" ({self._num_failed} times in a row)" if self._num_failed > 1 else ""
            raise UserError(f"{problem}{times}; {kept}: free space, and continue with --resume")
        self._say(f"warning: {problem}; training continues, {kept}")
        return False


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint aside, sync it, rename it, and drop all but the newest two.

    A checkpoint that a crash left unfinished is removed, and so is one of the same step, once it
    has a successor. Checkpoints of later steps, which were damaged and skipped, do not count, and
    stay until the run reaches their steps.

    Raises:
        OSError: If the disk is full or the folder cannot be written; older ones are untouched.
    """
    final = _free_name(folder, checkpoint.step)
    aside = folder / f".{final.name}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".step-*"):
        _remove(unfinished)
    try:
        aside.mkdir()
        described = {
            f"{stem}.safetensors": _write_part(aside / f"{stem}.safetensors", part)
            for stem, part in checkpoint.tensors.items()
        }
        state = {"step": checkpoint.step, "files": described, "facts": checkpoint.facts}
        state["sha256"] = _hash_json(state)
        write_synced(aside / _STATE, json.dumps(state, indent=1).encode())
        sync_folder(aside)
        aside.rename(final)
        sync_folder(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in _superseded(folder, checkpoint.step):
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write_part(path: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Write a file of tensors; return its size and SHA-256. One at a time is in memory twice."""
    data = serialize(tensors)
    write_synced(path, data)
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_newest(
    folder: Path,
    *,
    max_part: int = _MAX_PART_BYTES,
    check: Callable[[Checkpoint], None] = lambda _: None,
) -> tuple[Checkpoint, list[str]]:
    """Read the newest undamaged checkpoint into memory.

    Args:
        folder: Where they are.
        max_part: Bytes that a file of tensors takes at most; a larger one is not read.
        check: Raises `DamagedError` if no run can be in the state that was read.

    Returns:
        The checkpoint, and one sentence for each newer one that was damaged and skipped.

    Raises:
        UserError: If there is none.
    """
    warnings: list[str] = []
    for path in _checkpoints(folder):
        try:
            found = _read(path, max_part)
            check(found)
            return found, warnings
        except UserError:
            raise
        except OSError as error:
            reason = f"{Path(error.filename or path).name}: {error.strerror or error}"
        except RecursionError:
            reason = f"{_STATE} is nested too deep"
        except MemoryError:
            reason = "memory does not suffice"
        except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
        warnings.append(f"{path} is damaged and skipped: {reason}")
    damaged = f" ({'; '.join(warnings)})" if warnings else ""
    raise UserError(
        f"nothing to resume: no checkpoint in {folder}{damaged}; start a new run with another --out"
    )


def newest_facts(folder: Path) -> dict[str, Any]:
    """Read the facts of the newest checkpoint whose JSON is undamaged; empty if there is none."""
    for path in _checkpoints(folder):
        with contextlib.suppress(OSError, ValueError, RecursionError, MemoryError):
            return _read_state(path).facts
    return {}


def _checkpoints(folder: Path) -> list[Path]:
    """Return the paths with the name of a complete checkpoint, the newest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_order, reverse=True
    )


def _order(path: Path) -> tuple[int, int]:
    """Return step and number of a checkpoint, from its name."""
    step, _, number = path.name.removeprefix("step-").partition("-")
    return int(step), int(number or 0)


def _free_name(folder: Path, step: int) -> Path:
    """Return a path that sorts after all of its step: none is removed for another."""
    numbers = [number for its_step, number in map(_order, _checkpoints(folder)) if its_step == step]
    return folder / (f"step-{step:08d}" + (f"-{max(numbers) + 1}" if numbers else ""))


def _superseded(folder: Path, step: int) -> Iterator[Path]:
    """Yield the checkpoints up to a step that are not the newest of one of the last two steps."""
    steps: list[int] = []
    for path in _checkpoints(folder):
        its_step, _ = _order(path)
        if its_step > step:
            continue
        if its_step in steps or len(steps) == _KEPT:
            yield path
        else:
            steps.append(its_step)


class _State(NamedTuple):
    """The JSON of a checkpoint."""

    step: int
    files: dict[str, Any]
    """File name -> its size and SHA-256."""
    facts: dict[str, Any]


def _read_state(path: Path) -> _State:
    if path.is_symlink() or not path.is_dir():
        raise DamagedError("it is not a folder")
    state = json.loads(_read_file(path / _STATE, _MAX_STATE_BYTES))
    if not isinstance(state, dict) or state.pop("sha256", None) != _hash_json(state):
        raise DamagedError(f"{_STATE} does not match its SHA-256")
    step, files, facts = (state.get(key) for key in ("step", "files", "facts"))
    if type(step) is not int or step != _order(path)[0]:
        raise DamagedError(f"{_STATE} says that it is of step {step!r:.40}")
    if not isinstance(files, dict) or not isinstance(facts, dict):
        raise DamagedError(f"{_STATE} does not say what the run is")
    return _State(step, files, facts)


def _read(path: Path, max_part: int) -> Checkpoint:
    step, files, facts = _read_state(path)
    # All sizes come before any content: a file that has grown is not read.
    for name, described in files.items():
        if not _PART.fullmatch(name):
            raise DamagedError(f"{_STATE} names the file {name!r:.80}")
        size = (path / name).lstat().st_size
        if size != described["size"]:
            raise DamagedError(f"{name} has {size} bytes, not {described['size']!r:.40}")
    tensors = {}
    for name, described in files.items():
        data = _read_file(path / name, max_part)
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise DamagedError(f"{name} does not match its SHA-256")
        tensors[Path(name).stem] = deserialize(data)
    return Checkpoint(step, tensors, facts)


def _read_file(path: Path, max_size: int) -> bytes:
    """Return the content of a regular file; one that is too large is not read."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError(f"{path.name} is a link or not a file")
    if found.st_size > max_size:
        raise DamagedError(
            f"{path.name} has {found.st_size} bytes, more than the {max_size} allowed"
        )
    with path.open("rb") as file:
        return file.read(found.st_size)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _hash_json(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
