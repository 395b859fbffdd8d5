"""Examples of docstrings, shown as code on the site."""

import re
from typing import Any

from griffe import Extension, Object

_EXAMPLE = re.compile(r"^Examples?:\n((?:(?: {4,}.*)?\n?)+)", flags=re.MULTILINE)


class ExamplesAsCode(Extension):
    """Put the lines below `Example:` into a block of Python, which the docstrings leave out."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of one object, after its module is read."""
        if obj.docstring:
            obj.docstring.value = with_code(obj.docstring.value)


def with_code(text: str) -> str:
    """Return a docstring whose example is a fenced block.

    Example:
        with_code(segmenter.load.__doc__)
    """
    return _EXAMPLE.sub(_fenced, text)


def _fenced(found: re.Match[str]) -> str:
    return f"Example:\n    ```python\n{found[1].rstrip()}\n    ```\n"
