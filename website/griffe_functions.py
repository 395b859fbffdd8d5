"""Functions on the site: the options of the commands among the parameters, and one result."""

import inspect
import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from griffe import Extension, Function

import segmenter

_BELOW = re.compile(r"^    options: See below.*$", flags=re.MULTILINE)
_RETURNS = re.compile(r"^Returns:\n    ", flags=re.MULTILINE)
_NAME = re.compile(r"^    (\w+): ", flags=re.MULTILINE)


class WholeFunctions(Extension):
    """Put the options that `help` shows below a function into its list of parameters.

    A result gets its type, since its text up to a colon is taken for one.
    """

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Change the docstring of one function, after its module is read."""
        if func.docstring:
            text = _BELOW.sub(lambda _: options(func.name), func.docstring.value)
            func.docstring.value = _RETURNS.sub(rf"\g<0>{func.returns}: ", text)


def options(name: str) -> str:
    """Return the options of a public function, each with its type and its text.

    Example:
        options("fit")  # the lines of an `Args` section
    """
    function = getattr(segmenter, name)
    types = inspect.signature(function).parameters

    def typed(found: re.Match[str]) -> str:
        return f"    {found[1]} ({shown(types[found[1]].annotation)}): "

    return _NAME.sub(typed, (function.__doc__ or "").partition("\nOptions:\n")[2])


def shown(hint: Any) -> str:
    """Return a type as a reader writes it: its choices, and None."""
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(shown, get_args(hint)))
    return "None" if hint is type(None) else inspect.formatannotation(hint)
