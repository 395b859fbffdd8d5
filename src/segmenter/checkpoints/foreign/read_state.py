"""Read the table of weights in a file of another code base."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.hugging_face.shards import is_index, read_shards
from segmenter.checkpoints.foreign.pickle.containers import is_safetensors, read_container
from segmenter.checkpoints.foreign.tensors import Tensors, to_tensors
from segmenter.errors import UserError

Weight = TypeVar("Weight")
_TABLES = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "model_ema",
    "state_dict_ema",
    "teacher",
    "backbone",
)
"""Keys that may hold the table of weights, if the file itself is not the table; averaged weights
only in the absence of others."""
_PARALLEL = "module."
"""Prefix of all names in a model that was trained on several GPUs."""
_COMPILED = "_orig_mod."
"""Part of the names in a model that was compiled, in whole or in part."""
_MAX_NESTING = 3


def read_state(path: Path) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return the table of weights in a file, and all that the file holds.

    Args:
        path: Safetensors, the index of several of them, a `.pdparams`, `.pth` or `.npz`.

    Raises:
        UserError: If the file is missing, damaged, dangerous, or holds no table.
    """
    if is_index(path) or is_safetensors(path):
        tensors = read_shards(path) if is_index(path) else model_file.read_tensors(path)[0]
        return unwrapped(tensors), tensors
    content = read_container(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a table of weights")
    table = content
    for _ in range(_MAX_NESTING):
        inner = (table.get(key) for key in _TABLES)
        table = next((value for value in inner if isinstance(value, Mapping)), table)
    return unwrapped(table), content


def read_weights(path: Path) -> Tensors:
    """Read the tensors in a file of weights, whosever they are, by their names there.

    Raises:
        UserError: If the file is missing, damaged or dangerous, or holds no weights.
    """
    if not path.is_file():
        raise UserError(f"no such file of weights: {path}")
    tensors = to_tensors(read_state(path)[0], path)
    if not tensors:
        raise UserError(f"{path} holds no table of tensors")
    return tensors


def unwrapped(table: Mapping[str, Weight]) -> Mapping[str, Weight]:
    """Return a table by the names before the model was compiled, or trained on several GPUs."""
    names = {name: name.replace(_COMPILED, "") for name in table if isinstance(name, str)}
    if len(names) < len(table):
        return table
    while names and all(name.startswith(_PARALLEL) for name in names.values()):
        names = {name: short.removeprefix(_PARALLEL) for name, short in names.items()}
    if len(set(names.values())) < len(names):  # two of one name: none can be left out
        return table
    return {names[name]: value for name, value in table.items()}
