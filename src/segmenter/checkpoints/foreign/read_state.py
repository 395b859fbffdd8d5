"""Find the table of weights in a checkpoint of another code base."""

from collections.abc import Mapping
from pathlib import Path

from segmenter.checkpoints.foreign.pickle.containers import read_container
from segmenter.errors import UserError

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
_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of all names in a model that was trained on several GPUs, or compiled."""
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
    for _ in _WRAPPERS:
        for wrapper in _WRAPPERS:
            if table and all(isinstance(name, str) and name.startswith(wrapper) for name in table):
                table = {name.removeprefix(wrapper): value for name, value in table.items()}
    return table, content
