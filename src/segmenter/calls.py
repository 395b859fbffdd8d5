"""Arguments of Python functions, refused in one line where they do not fit."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, cast

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from segmenter.errors import UserError
from segmenter.files.yaml import first_problem, nearest

Function = TypeVar("Function", bound=Callable[..., object])


def checks_call(function: Function) -> Function:
    """Have a call of a function that does not fit its arguments raise `UserError`."""
    own = signature(function)

    @wraps(function)
    def call(*positional: Any, **keywords: Any) -> object:
        check_call(function.__name__, own, positional, keywords)
        return function(*positional, **keywords)

    return cast(Function, call)


def check_call(
    function: str,
    takes: Signature,
    positional: Sequence[object],
    keywords: Mapping[str, object],
) -> None:
    """Refuse arguments that do not fit a signature.

    Args:
        function: Name of the function, for messages.
        takes: What it takes, without `self`.
        positional: Arguments that were given without a keyword.
        keywords: Keywords that were given, and their values.

    Raises:
        UserError: If there are too many arguments, a keyword is unknown or given twice, or one is
            missing.
    """
    own = takes.parameters.values()
    named = [each for each in own if each.kind is not Parameter.VAR_KEYWORD]
    in_order = [each.name for each in named if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if len(positional) > len(in_order):
        raise UserError(
            f"{function} takes {len(in_order)} without a keyword ({', '.join(in_order)}), got "
            f"{len(positional)}; give the others as NAME=VALUE"
        )
    known = [each.name for each in named]
    for name in keywords if len(named) == len(takes.parameters) else ():
        if name not in known:
            raise UserError(
                f"{function} has no option {name!r}{nearest(name, known)}; its options are "
                f"{', '.join(known)}"
            )
    given = in_order[: len(positional)]
    for each in named:
        if each.name in given and each.name in keywords:
            raise UserError(f"{function}: {each.name} is given twice; give it once")
        if each.default is Parameter.empty and each.name not in {*given, *keywords}:
            raise UserError(
                f"{function}: {each.name} is missing; it takes {', '.join(in_order)}, and options "
                f"as NAME=VALUE (see help(segmenter.{function}))"
            )


def check_types(
    function: str, types: Mapping[str, Any], given: Mapping[str, object]
) -> dict[str, Any]:
    """Refuse values that are not of the types of their names.

    Numbers and arrays of NumPy stand for those of Python.

    Returns:
        The values, by name.

    Raises:
        UserError: Naming the first.
    """
    plain = {
        name: value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for name, value in given.items()
    }
    form: Any = TypedDict("form", dict(types), total=False)  # pyright: ignore
    try:
        return TypeAdapter(form).validate_python(plain, strict=True)
    except ValidationError as error:
        raise UserError(f"{function}: {first_problem(error, BaseModel)}") from None
