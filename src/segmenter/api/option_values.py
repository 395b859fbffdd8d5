"""Keywords of a Python function become the options objects that its command is given."""

import inspect
from ast import AnnAssign, ClassDef, Constant, Expr, Name, parse, stmt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args, get_type_hints

from segmenter.calls import Function, check_types, checks_call
from segmenter.errors import UserError
from segmenter.files.names import text_problem
from segmenter.files.yaml import nearest
from segmenter.spelling import as_keywords


def make_options(function: str, given: Mapping[str, object], *kinds: type) -> list[Any]:
    """Make one object of each kind of options from keywords.

    Args:
        function: Name of the function, for messages.
        given: Keywords that were given, and their values.
        kinds: Dataclasses such as `options.Views`; a default is that of the dataclass.

    Raises:
        UserError: If a keyword is none of theirs, or a value is not of its type.
    """
    types = {name: hint for kind in kinds for name, hint in _types(kind).items()}
    for name in given:
        if name not in types:
            known = sorted(types)
            raise UserError(
                f"{function} has no option {name!r}{nearest(name, known)}; its options are "
                f"{', '.join(known)}"
            )
    prepared = {name: _prepared(value, types[name]) for name, value in given.items()}
    for name, value in prepared.items():
        if isinstance(value, str | Path) and (problem := text_problem(str(given[name]))):
            raise UserError(f"{function}: {name} {problem}")
    checked = check_types(function, {name: types[name] for name in given}, prepared)
    return [
        kind(**{name: checked[name] for name in _types(kind) if name in given}) for kind in kinds
    ]


def as_texts(function: str, **arguments: object) -> list[str]:
    """Return arguments that are names or paths as the command line has them.

    Args:
        function: Name of the function, for messages.
        arguments: The arguments by their names.

    Raises:
        UserError: If one is neither a text nor a path, or cannot be a name or a path.
    """
    for name, value in arguments.items():
        if not isinstance(value, str | Path):
            raise UserError(f"{function}: {name} is a name or a path, got {type(value).__name__}")
        if problem := text_problem(str(value)):
            raise UserError(f"{function}: {name} {problem}")
    return [str(value) for value in arguments.values()]


def shows_options(*kinds: type) -> Callable[[Function], Function]:
    """Show the fields of options in the signature and the help of a function of `**options`.

    A call that does not fit the function's own arguments raises `UserError`.
    """

    def show(function: Function) -> Function:
        own = inspect.signature(function)
        kept = [each for each in own.parameters.values() if each.kind != each.VAR_KEYWORD]
        shown = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=_types(kind)[field.name],
            )
            for kind in kinds
            for field in fields(kind)
        ]

        call = checks_call(function)
        call.__signature__ = own.replace(parameters=[*kept, *shown])  # type: ignore[attr-defined]
        lines = [f"    {name}: {text}" for kind in kinds for name, text in _described(kind)]
        call.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *lines])
        return call

    return show


@cache
def _types(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _prepared(value: object, hint: Any) -> object:
    """Take a text for a path, and a list for a tuple, where the option is one."""
    members = {hint, *get_args(hint)}
    if isinstance(value, str) and Path in members:
        return Path(value)
    if isinstance(value, list) and any(
        getattr(each, "__origin__", None) is tuple for each in members
    ):
        return tuple(value)
    return value


def _described(kind: type) -> Iterator[tuple[str, str]]:
    """Yield each field of a dataclass, and the docstring below it, which names keywords."""
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each is object:
            continue
        for node, after in pairwise(_body(each)):
            if (
                isinstance(node, AnnAssign)
                and isinstance(node.target, Name)
                and isinstance(after, Expr)
                and isinstance(after.value, Constant)
            ):
                texts[node.target.id] = " ".join(str(after.value.value).split())
    for name in known:
        yield name, as_keywords(texts.get(name, ""))


def _body(kind: type) -> list[stmt]:
    """Return the statements of a class; none where its source is not installed."""
    try:
        (tree,) = parse(dedent(inspect.getsource(kind))).body
    except OSError:
        return []
    return tree.body if isinstance(tree, ClassDef) else []
