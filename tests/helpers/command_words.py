"""Every command with its arguments, by introspection."""

from typing import Any, Literal, get_args, get_origin

from segmenter.commands.main import app

COMMANDS = {name: app[name].default_command for name in app if not name.startswith("-")}


def leaves(hint: Any) -> set[Any]:
    """The types inside a hint such as `Annotated[tuple[float, ...] | None, ...]`."""
    if get_origin(hint) is Literal or not get_args(hint):
        return {hint}
    return set().union(*(leaves(inner) for inner in get_args(hint)))
