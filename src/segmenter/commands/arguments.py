"""Strict parsing of command-line values: plain decimal numbers, and paths that can exist.

Cyclopts reads 2.5 as 2, 0x10 as 16, and an empty path as the current folder.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import cyclopts
from cyclopts import Argument, CycloptsError, MissingArgumentError, Token

from segmenter.errors import UserError
from segmenter.files.names import shortened, text_problem

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_BAND, _BETWEEN_BANDS = re.compile(r"[1-9][0-9]{0,2}"), re.compile(r"[\[\],]")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class WordError(UserError):
    """A word of the command line that cannot be what its argument takes.

    Args:
        token: The word.
        problem: What is wrong with it, to go after the argument's name.
    """

    def __init__(self, token: Token, problem: str) -> None:
        super().__init__(problem)
        self.keyword = token.keyword


def convert_strictly(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert one argument's words to its type, as cyclopts does, after checking each.

    Raises:
        WordError: If a number is not written in plain decimal digits or is not finite, or if a text
            or path is empty, too long for a file system, or holds control characters.
    """
    leaves = set(_leaves(type_))
    check = next((check for leaf, check in _CHECKS.items() if leaf in leaves), None)
    for token in tokens if check else ():
        problem = check(token.value) if check else None
        if problem:
            raise WordError(token, problem)
    return cyclopts.convert(type_, tokens)


def convert_bands(_type: object, tokens: Sequence[Token]) -> tuple[int, ...] | str:
    """Convert `all`, or numbers of bands such as `4 3 2` or `[4, 3, 2]`.

    Raises:
        WordError: If it is something else.
    """
    text = " ".join(token.value for token in tokens)
    words = _BETWEEN_BANDS.sub(" ", text).split()
    if words == ["all"]:
        return "all"
    if not words or not all(_BAND.fullmatch(word) for word in words):
        raise WordError(
            tokens[-1],
            "takes a whole number from 1 for each band, such as 4 3 2, or all, got "
            f"{shortened(text)}",
        )
    return tuple(map(int, words))


def _leaves(type_: Any) -> Iterator[Any]:
    """Yield the types inside one such as `tuple[float, ...] | None`, but not `Literal` choices."""
    inner = () if get_origin(type_) is Literal else get_args(type_)
    if not inner:
        yield type_
    for each in inner:
        yield from _leaves(each)


def problem_of(mistake: CycloptsError) -> str:
    """Return one line that says what is wrong with a command line."""
    word = mistake.__cause__
    argument = mistake.argument
    if isinstance(mistake, MissingArgumentError) and argument and _is_positional(argument):
        command = " ".join(mistake.command_chain or ())
        return f"{argument.name.lstrip('-').upper()} is missing (see `segmenter {command} --help`)"
    if not isinstance(word, WordError):
        help_of = " ".join(("segmenter", *(mistake.command_chain or ()), "--help"))
        return f"{mistake} (see `{help_of}`)"
    name = argument.name if argument else "an argument"
    return f"{word.keyword or name} {word}"


def _is_positional(argument: Argument) -> bool:
    return argument.field_info.is_positional


def _whole_problem(text: str) -> str | None:
    if _WHOLE.fullmatch(text):
        return None
    return f"takes a whole number in plain digits, such as 2, got {shortened(text)}"


def _real_problem(text: str) -> str | None:
    if _REAL.fullmatch(text) and math.isfinite(float(text)):
        return None
    return f"takes a finite number, such as 0.5, got {shortened(text)}"


_CHECKS: dict[type, Callable[[str], str | None]] = {
    int: _whole_problem,
    float: _real_problem,
    str: text_problem,
    Path: text_problem,
}
