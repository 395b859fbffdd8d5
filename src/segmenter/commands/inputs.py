"""No command writes over what it reads."""

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from segmenter.errors import UserError

_OUTPUTS = ("out", "json", "report")


def keeping_inputs(command: Callable[..., int]) -> Callable[..., int]:
    """The command, which refuses an output that is one of its inputs, whatever --overwrite says."""
    signature = inspect.signature(command)

    @functools.wraps(command)
    def kept(*positional: Any, **named: Any) -> int:
        given = signature.bind(*positional, **named).arguments
        for output in _OUTPUTS:
            if isinstance(given.get(output), Path):
                _check_no_input(output, given)
        return command(*positional, **named)

    return kept


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
    """What could name a file among the values of an argument."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _words(each)
