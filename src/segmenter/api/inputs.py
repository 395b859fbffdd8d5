"""Checks of what a command or a function of the package is given."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from segmenter.errors import UserError

_OUTPUTS = ("out", "json", "report")


def check_outputs(arguments: Mapping[str, Any]) -> None:
    """Reject an output path that is one of a command's inputs, even with --overwrite.

    Args:
        arguments: Values of a command's parameters; fields of options objects are looked at.

    Raises:
        UserError: If an input would be overwritten.
    """
    given = dict(_flattened(arguments))
    for output in _OUTPUTS:
        if isinstance(given.get(output), Path):
            _check_no_input(output, given)


def _flattened(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in arguments.items():
        if is_dataclass(value):
            yield from ((field.name, getattr(value, field.name)) for field in fields(value))
        else:
            yield name, value


def _check_no_input(output: str, given: dict[str, Any]) -> None:
    path = given[output]
    for name, value in given.items():
        for word in _words(value) if name not in _OUTPUTS else ():
            read = Path(word)
            if path.is_file() and read.exists() and path.samefile(read):
                raise UserError(
                    f"{path} is what this command reads as {name.upper()}, and would be lost; "
                    f"give another {output.upper()}"
                )


def _words(value: object) -> Iterator[str]:
    """Yield the values of an argument that may name a file."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _words(each)
