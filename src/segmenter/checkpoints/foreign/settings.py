"""A config as dotted names, and an account of what became of each."""

from collections.abc import Mapping
from typing import Any, TypeVar

import yaml

from segmenter.errors import UserError

Choice = TypeVar("Choice")
_MAX_SHOWN = 100


class Settings:
    """The values of a config by their dotted names; each is taken, or left without counterpart.

    An entry of a list that says its type is named by it:
    `train_dataset.transforms.RandomDistort.hue_range`.

    Args:
        content: The config.
        source: What errors call it.
    """

    def __init__(self, content: dict[str, Any], source: str) -> None:
        self.source = source
        self.taken: list[str] = []
        """A line for each value that was taken: where from, and where to."""
        self._differences: list[str] = []
        self._values = dict(_flatten(content, ""))

    def __contains__(self, name: str) -> bool:
        """Return True if a value is given and not yet taken."""
        return name in self._values

    def peek(self, name: str) -> Any:
        """Return the value of `name` without removing it; None if it is not given."""
        return self._values.get(name)

    @property
    def left(self) -> list[str]:
        """A line for each value that has no counterpart here."""
        return self._differences + [f"{name}: {show(v)}" for name, v in self._values.items()]

    def take(self, name: str, field: str, default: object = None) -> Any:
        """Return the value of `name`, which goes into `field` of the recipe, or else `default`."""
        if name not in self._values:
            return default
        value = self._values.pop(name)
        self.taken.append(f"{name}: {show(value)} -> {field}")
        return value

    def take_count(self, name: str, field: str, default: int | None = None) -> int:
        """Return the same, for a whole number of at least 1; needed without a default.

        Raises:
            UserError: If it is none.
        """
        value = self.take(name, field, default)
        if type(value) is not int or value < 1:
            raise UserError(
                f"{self.source}: {name} must be a whole number of at least 1, got {show(value)}"
            )
        return value

    def take_choice(
        self, name: str, field: str, choices: Mapping[str, Choice], default: str = ""
    ) -> Choice:
        """Return our name for one of theirs.

        Raises:
            UserError: If it is not one of `choices`.
        """
        value = self.take(name, field, default)
        if not isinstance(value, str) or value not in choices:
            raise UserError(
                f"{self.source}: {name} is {show(value)}, which has no counterpart here; known: "
                f"{', '.join(choices)}"
            )
        return choices[value]

    def expect(self, name: str, here: object, default: object) -> None:
        """Compare a value that cannot be chosen here; `default` is what theirs is if not given."""
        is_given = name in self._values
        value = self._values.pop(name, default)
        if _plain(value) != _plain(here):
            what = "" if is_given else ", by default"
            self._differences.append(f"{name}: {show(value)}{what} (here: {show(here)})")
        elif is_given:
            self.taken.append(f"{name}: {show(value)} (the same here)")


def show(value: object) -> str:
    """Return a value as YAML, on one line and not too long."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    text = " ".join(dumped.removesuffix("...\n").split())
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + " ..."


def _plain(value: object) -> object:
    """Tuples and lists compare alike, and so do 1 and 1.0; but 1 is not true."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, bool) else value


def _flatten(value: object, name: str) -> list[tuple[str, Any]]:
    """Dotted names and values; a list with sections in it is flattened too, other lists stay."""
    if isinstance(value, dict) and (value or not name):
        parts = list(value.items())
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        parts = _named_entries(value)
    else:
        return [(name, value)]
    return [
        found
        for key, inner in parts
        for found in _flatten(inner, f"{name}.{key}" if name else str(key))
    ]


def _named_entries(entries: list[Any]) -> list[tuple[str, Any]]:
    """Return each entry of a list by its type, or by type and place if the type occurs again."""
    named: dict[str, Any] = {}
    for place, entry in enumerate(entries):
        kind = entry.get("type") if isinstance(entry, dict) else None
        label = kind if isinstance(kind, str) else str(place)
        named[f"{label}[{place}]" if label in named else label] = entry
    return list(named.items())
