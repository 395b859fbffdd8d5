"""A run's state on disk: folders that are whole or not there, and the newest that is undamaged."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from segmenter.errors import UserError

_NAME = re.compile(r"^step-(\d{8})$")
_STATE = "state.json"
_KEPT = 2


class Checkpoint(NamedTuple):
    """All that a run needs to go on as if it had never stopped."""

    step: int
    """Updates done."""
    tensors: dict[str, dict[str, Tensor]]
    """File stem (`model`, `optimizer`, `average`) -> name -> tensor."""
    facts: dict[str, Any]
    """JSON: what the run is, and its best score so far."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint aside, sync it, rename it, and drop all but the newest two.

    Raises:
        OSError: If the disk is full or the folder cannot be written; older ones are untouched.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
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
        files[_STATE] = json.dumps(state, indent=1).encode()
        for name, data in files.items():
            _write_synced(aside / name, data)
        _sync_folder(aside)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        _sync_folder(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in _checkpoints(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def read_newest(folder: Path, device: torch.device) -> tuple[Checkpoint, list[str]]:
    """Read the newest undamaged checkpoint.

    Returns:
        It, and one sentence for each newer one that was damaged and passed over.

    Raises:
        UserError: If there is none.
    """
    warnings: list[str] = []
    for path in _checkpoints(folder):
        try:
            return _read(path, device), warnings
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.append(f"{path} is damaged and passed over: {error}")
    damaged = f" ({'; '.join(warnings)})" if warnings else ""
    raise UserError(
        f"nothing to resume: no checkpoint in {folder}{damaged}; start without --resume"
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _NAME.match(path.name)), reverse=True)


def _read(path: Path, device: torch.device) -> Checkpoint:
    state = json.loads((path / _STATE).read_bytes())
    tensors = {}
    for name, described in state["files"].items():
        data = (path / name).read_bytes()
        if len(data) != described["size"]:
            raise ValueError(f"{name} has {len(data)} bytes, not {described['size']}")
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise ValueError(f"{name} does not match its SHA-256")
        loaded = deserialize(data)
        tensors[Path(name).stem] = {key: tensor.to(device) for key, tensor in loaded.items()}
    return Checkpoint(state["step"], tensors, state["facts"])


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
