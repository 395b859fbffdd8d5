"""Every command with its arguments, by introspection."""

from functools import cache
from typing import Any, Literal, get_args, get_origin

from cyclopts import Argument, Parameter

from segmenter.commands.main import app

COMMANDS = [name for name in app if not name.startswith("-")]


@cache
def arguments_of(command: str) -> dict[str, Argument]:
    """What a command takes, by name, such as `model` or `merge_threshold`, as flags spell it."""
    default = Parameter.combine(app.default_parameter)
    found = app[command].assemble_argument_collection(default_parameter=default)
    return {
        argument.name.lstrip("-").lower().replace("-", "_"): argument
        for argument in found
        if not argument.children and argument.field_info.kind.name != "VAR_KEYWORD"
        if argument.name != "*" and argument.parse
    }


def words_for(command: str, given: dict[str, list[str]]) -> list[str]:
    """A command line: positional arguments in their order, then flags."""
    positional, flags = [], []
    for name, argument in arguments_of(command).items():
        if name in given and argument.field_info.is_positional:
            positional += given[name]
        elif name in given:
            flags += [argument.name, *given[name]]
    return [command, *positional, *flags]


def leaves(hint: Any) -> set[Any]:
    """The types inside a hint such as `Annotated[tuple[float, ...] | None, ...]`."""
    if get_origin(hint) is Literal or not get_args(hint):
        return {hint}
    return set().union(*(leaves(inner) for inner in get_args(hint)))
