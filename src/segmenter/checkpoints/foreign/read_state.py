"""Find the table of weights in a checkpoint of another code base."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from segmenter.checkpoints.foreign.pickle.containers import read_container
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
    """Return the table of weights in a `.pdparams`, `.pth` or `.npz`, and all that the file holds.

    Raises:
        UserError: If the file is missing, damaged, dangerous, or holds no table.
    """
    content = read_container(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a table of weights")
    table = content
    for _ in range(_MAX_NESTING):
        inner = (table.get(key) for key in _TABLES)
        table = next((value for value in inner if isinstance(value, Mapping)), table)
    return unwrapped(table), content


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
