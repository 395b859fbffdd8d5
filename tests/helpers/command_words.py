"""Every command with its arguments, by introspection."""

from typing import Any, Literal, get_args, get_origin

import pytest

from segmenter import commands
from segmenter.commands.main import app

COMMANDS = {name: app[name].default_command for name in app if not name.startswith("-")}


def leaves(hint: Any) -> set[Any]:
    """The types inside a hint such as `Annotated[tuple[float, ...] | None, ...]`."""
    if get_origin(hint) is Literal or not get_args(hint):
        return {hint}
    return set().union(*(leaves(inner) for inner in get_args(hint)))


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """The one line that answers a mistake."""
    with pytest.raises(SystemExit) as ended:
        commands.main(arguments)
    error = capsys.readouterr().err
    assert (ended.value.code, error.count("\n")) == (2, 1), error
    return error
