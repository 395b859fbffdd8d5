"""A YAML config with the files it inherits from: PaddleSeg's `_base_` and `_inherited_`.

Source: PaddleSeg 2.9 `paddleseg/cvlibs/config.py`.
"""

from pathlib import Path
from typing import Any

from segmenter.checkpoints.foreign.rstrudel.variant import VariantLoader
from segmenter.errors import UserError
from segmenter.files.yaml import read_yaml

CONFIG_SUFFIXES = (".yml", ".yaml")
_MAX_FILES = 32
_MAX_VALUES = 10_000


def read_config(path: Path) -> dict[str, Any]:
    """Read a config and merge it over its bases: a nested key wins over that of a base.

    Bases are YAML files, named relative to the file that inherits. The tag of Python's tuple is
    read as a tuple; no other tag is.

    Raises:
        UserError: If a file is missing, unreadable, huge or no mapping, or bases form a circle.
    """
    return _Reader().read(path, ())


class _Reader:
    """Reads one config; counts files and values, so that small files cannot describe much."""

    def __init__(self) -> None:
        self.num_files = 0
        self.num_values = 0

    def read(self, path: Path, heirs: tuple[Path, ...]) -> dict[str, Any]:
        """Read a file and its bases; `heirs` are the files that led here."""
        place = path.resolve()
        if place in heirs:
            circle = " -> ".join(each.name for each in (*heirs[heirs.index(place) :], place))
            raise UserError(f"{path}: _base_ leads back to the file itself: {circle}")
        self.num_files += 1
        if self.num_files > _MAX_FILES:
            raise UserError(f"{path}: more than {_MAX_FILES} files are inherited; refused")
        content = read_yaml(path, VariantLoader)
        if not isinstance(content, dict):
            raise UserError(f"{path} is not a config: it holds no `key: value` lines")
        self._count(content, path)
        bases = content.pop("_base_", [])
        for base in bases if isinstance(bases, list) else [bases]:
            content = _merge(content, self.read(_base_path(base, path), (*heirs, place)))
        return content

    def _count(self, content: object, path: Path) -> None:
        """Refuse files whose aliases unfold into more values than any config has."""
        waiting = [content]
        while waiting:
            self.num_values += 1
            if self.num_values > _MAX_VALUES:
                raise UserError(f"{path}: more than {_MAX_VALUES} values; refused")
            value = waiting.pop()
            if isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list | tuple | set):
                waiting += value


def _base_path(base: object, heir: Path) -> Path:
    """Return the file that an entry of `_base_` names."""
    if not isinstance(base, str):
        raise UserError(f"{heir}: _base_ is a file name or a list of them, got {base!r}"[:300])
    path = heir.parent / base
    if Path(base).is_absolute() or path.suffix.lower() not in CONFIG_SUFFIXES:
        raise UserError(
            f"{heir}: _base_ {base!r} is refused: it must be a path relative to this file that "
            f"ends with {' or '.join(CONFIG_SUFFIXES)}"
        )
    try:
        is_there = path.is_file()
    except OSError:  # such as a name that is too long
        is_there = False
    if not is_there:
        raise UserError(f"{heir}: _base_ {base!r} is missing: no such file: {path}")
    return path


def _merge(content: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Lay `content` over `base`, key by key; `_inherited_: false` drops the base's section."""
    content = dict(content)
    if not content.pop("_inherited_", True):
        return content
    merged = dict(base)
    for key, value in content.items():
        below = merged.get(key)
        if isinstance(value, dict):
            value = _merge(value, below if isinstance(below, dict) else {})
        merged[key] = value
    return merged
