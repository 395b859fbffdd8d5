"""A JSON body without its numbers: the list of each tensor's `data` is cut out before it is parsed.

What is left is small, or the body is refused, so that any JSON parser is fit for it.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from segmenter.extras.serving.json_numbers import find_end
from segmenter.extras.serving.refusals import RequestError

_MAX_BYTES = 1 << 16
_MAX_DEPTH = 32
_MARK = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_COLON = re.compile(rb"[ \t\n\r]*:")
_CUT = b" 0 "  # apart from what stands beside it, so that -1[2] does not become the number -10
_PATH = [b'"inputs"', None, b'"data"']
"""Keys of the objects and lists around the numbers."""


@dataclass(frozen=True)
class Outline:
    """A body in which each list of numbers is replaced by 0."""

    content: Any
    """The body, parsed by `json`."""
    spans: list[slice]
    """Spans of the lists in the body."""


def read_outline(body: bytes) -> Outline:
    """Parse a body but for the numbers of its tensors.

    Raises:
        RequestError: 400 if it is not JSON, 413 or 422 if it holds too much beside the numbers.
    """
    spans = _find_numbers(body)
    parts, position = [], 0
    for span in spans:
        parts += [body[position : span.start], _CUT]
        position = span.stop
    try:
        text = b"".join([*parts, body[position:]]).decode("utf-8")
        content = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise RequestError(400, "bad-json", "the body is not JSON") from None
    return Outline(content, spans)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are given once; else it is open which value counts."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise RequestError(400, "bad-json", "an object of the JSON has a key twice")
    return content


def _find_numbers(body: bytes) -> list[slice]:
    """Return the spans of the lists of numbers, by the marks outside of them."""
    spans: list[slice] = []
    keys: list[bytes | None] = []  # of each object and list that is open: the key read last
    position = num_cut = 0
    while found := _MARK.search(body, position, num_cut + _MAX_BYTES):
        position, mark = found.end(), found.group()
        if mark == b'"':
            string = _STRING.match(body, found.start(), num_cut + _MAX_BYTES)
            if string is None:
                break
            position = string.end()
            if keys and _COLON.match(body, position, position + 100):
                keys[-1] = string.group()
        elif mark == b"[" and keys == _PATH:
            spans.append(slice(found.start(), find_end(body, found.start())))
            position = spans[-1].stop
            num_cut += position - found.start()
        elif mark in b"[{":
            keys.append(None)
            if len(keys) > _MAX_DEPTH:
                raise RequestError(
                    400, "bad-json", f"the JSON is nested more than {_MAX_DEPTH} deep"
                )
        elif keys:
            keys.pop()
    if len(body) - num_cut > _MAX_BYTES:
        raise RequestError(
            422,
            "too-large",
            f"the JSON has more than {_MAX_BYTES} bytes beside the numbers of data",
        )
    return spans
