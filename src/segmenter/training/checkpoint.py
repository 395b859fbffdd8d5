"""A run's state on disk: folders that are whole or not there, and the newest that is undamaged."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from segmenter.errors import UserError

_NAME = re.compile(r"^step-(\d{8})$")
_STATE = "state.json"
_KEPT = 2
_MAX_FAILURES_IN_A_ROW = 3


class Checkpoint(NamedTuple):
    """All that a run needs to go on as if it had never stopped."""

    step: int
    """Updates done."""
    tensors: dict[str, dict[str, Tensor]]
    """File stem (`model`, `optimizer`, `average`) -> name -> tensor."""
    facts: dict[str, Any]
    """JSON: what the run is, and how far it has come."""


class CheckpointSaver:
    """Saves checkpoints; a save that fails is a warning, three in a row are an error.

    Args:
        folder: Where they go.
        say: Told of a save that failed.
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
            raise UserError(f"{problem}{times}; {kept}: free space, and go on with --resume")
        self._say(f"warning: {problem}; training goes on, {kept}")
        return False


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint aside, sync it, rename it, and drop all but the newest two.

    One that was cut short by a crash before is removed. Later ones, which were damaged and passed
    over, do not count and stay until the run has come as far.

    Raises:
        OSError: If the disk is full or the folder cannot be written; older ones are untouched.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".step-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    try:
        aside.mkdir()
        files = {
            f"{stem}.safetensors": serialize(part) for stem, part in checkpoint.tensors.items()
        }
        described = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        }
        state = {"step": checkpoint.step, "files": described, "facts": checkpoint.facts}
        files[_STATE] = json.dumps(state | {"sha256": _hash_json(state)}, indent=1).encode()
        for name, data in files.items():
            _write_synced(aside / name, data)
        _sync_folder(aside)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        _sync_folder(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    up_to_now = [path for path in _checkpoints(folder) if path.name <= final.name]
    for old in up_to_now[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def read_newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Read the newest undamaged checkpoint into memory.

    Returns:
        It, and one sentence for each newer one that was damaged and passed over.

    Raises:
        UserError: If there is none.
    """
    warnings: list[str] = []
    for path in _checkpoints(folder):
        try:
            return _read(path), warnings
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.append(f"{path} is damaged and passed over: {error}")
    damaged = f" ({'; '.join(warnings)})" if warnings else ""
    raise UserError(
        f"nothing to resume: no checkpoint in {folder}{damaged}; start without --resume"
    )


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.match(path.name)), reverse=True)


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / _STATE).read_bytes())
    if state.pop("sha256") != _hash_json(state):
        raise ValueError(f"{_STATE} does not match its SHA-256")
    tensors = {}
    for name, described in state["files"].items():
        data = (path / name).read_bytes()
        if len(data) != described["size"]:
            raise ValueError(f"{name} has {len(data)} bytes, not {described['size']}")
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise ValueError(f"{name} does not match its SHA-256")
        tensors[Path(name).stem] = deserialize(data)
    return Checkpoint(state["step"], tensors, state["facts"])


def _hash_json(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
