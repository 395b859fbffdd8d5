"""Numbers of a tensor in JSON, from the bytes of a body straight into an array.

A general parser makes an object of each number, string, and brace, which takes up to 50 times the
memory of the text. This one knows digits, commas, brackets, and spaces, and refuses everything
else. It goes through the text in chunks: memory is the array and a few MB, time is linear.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Bool, Int, UInt8
from numpy import ndarray

from segmenter.extras.serving.refusals import RequestError

_CHUNK = 1 << 17
_START, _NUMBER, _COMMA, _OPEN, _CLOSE = range(5)
_KINDS = np.zeros(256, np.uint8)  # spaces stay 0 and are dropped
_KINDS[list(b"0123456789")] = _NUMBER
_KINDS[list(b",[]")] = _COMMA, _OPEN, _CLOSE
_STEPS = np.array([0, 0, 0, 1, -1])
_MAY_FOLLOW = np.zeros((5, 5), bool)
for _before, _after in [
    (_START, _OPEN),
    (_NUMBER, _COMMA),
    (_NUMBER, _CLOSE),
    (_COMMA, _NUMBER),
    (_COMMA, _OPEN),
    (_OPEN, _NUMBER),
    (_OPEN, _OPEN),
    (_CLOSE, _COMMA),
    (_CLOSE, _CLOSE),
]:
    _MAY_FOLLOW[_before, _after] = True

_NUMBER_TEXT = re.compile(rb"[\[\]0-9, \t\n\r]*")
_OPENING = re.compile(rb"[\[ \t\n\r]*")
_DIGITS = b"0123456789"
_OTHER = {
    b'"': "a string",
    b"{": "an object",
    b"t": "true",
    b"f": "false",
    b"n": "null",
    b"-": "a number below 0, or a minus sign",
    b".": "a fraction",
    b"e": "an exponent",
    b"E": "an exponent",
    b"N": "NaN",
    b"I": "Infinity",
}


def find_end(text: bytes, start: int) -> int:
    """Find the end of the list of numbers that begins at `start`, which holds nothing else.

    Raises:
        RequestError: 400 if the text ends before the list, 422 if the list holds anything else.
    """
    found = _NUMBER_TEXT.match(text, start)
    assert found
    end = found.end()
    close = text.rfind(b"]", start, end) + 1
    if close and text.count(b"[", start, close) == text.count(b"]", start, close):
        return close
    if end == len(text):
        raise RequestError(400, "bad-json", "the body is not JSON: it ends inside data")
    what = _OTHER.get(text[end : end + 1], f"the byte 0x{text[end]:02x}")
    raise _refused(f"byte {end} of the JSON begins {what}")


def read_numbers(
    text: bytes, span: slice, shape: Sequence[int]
) -> UInt8[ndarray, "batch height width channels"]:
    """Read whole numbers from 0 to 255, in one flat list or nested as the shape is.

    Args:
        text: JSON.
        span: Where the list stands in it, as `find_end` found it.
        shape: Shape of the tensor.

    Raises:
        RequestError: 422 if the list is anything else.
    """
    reader = _Reader(text, span.stop, tuple(shape), _depth(text, span, shape))
    position = span.start
    while position < span.stop:
        position = reader.read(position)
    if reader.num_read != prod(shape):
        raise _refused(f"shape {list(shape)} takes {prod(shape)}, got {reader.num_read}")
    return reader.values.reshape(shape)


def _depth(text: bytes, span: slice, shape: Sequence[int]) -> int:
    """Return the depth of the first number: 1 in a flat list, else the length of the shape."""
    opening = _OPENING.match(text, span.start, span.stop)
    depth = opening.group().count(b"[") if opening else 0
    if depth not in (1, len(shape)):
        raise _refused(
            f"they stand {depth} lists deep; give one flat list, or lists nested as shape "
            f"{list(shape)}, {len(shape)} deep"
        )
    return depth


@dataclass
class _Reader:
    """Reads a text chunk by chunk, and remembers what the last chunk left."""

    text: bytes
    stop: int
    shape: tuple[int, ...]
    """Shape that the numbers must have."""
    levels: int
    """Depth of each number."""

    def __post_init__(self) -> None:
        self.values = np.empty(prod(self.shape), np.uint8)
        self.num_read = self.num_commas = self.depth = 0
        self.last = _START
        self._inner = [prod(self.shape[axis:]) for axis in range(1, self.levels)]

    def read(self, position: int) -> int:
        """Read a chunk; returns where the next begins."""
        end = min(position + _CHUNK, self.stop)
        while end < self.stop and end > position and self.text[end - 1] in _DIGITS:
            end -= 1  # a number stays in one chunk
        if end == position:
            raise _refused("a number has too many digits")
        raw = np.frombuffer(self.text, np.uint8, end - position, position)
        kinds = _KINDS[raw]
        is_digit = kinds == _NUMBER
        is_first = is_digit.copy()
        is_first[1:] &= ~is_digit[:-1]
        tokens = kinds[(kinds > _NUMBER) | is_first]
        if tokens.size:
            self._check_grammar(tokens)
            self._check_nesting(tokens)
        self._take(_numbers(raw, is_digit, np.flatnonzero(is_first)))
        return end

    def _check_grammar(self, tokens: UInt8[ndarray, " tokens"]) -> None:
        before = np.empty_like(tokens)
        before[0], before[1:] = self.last, tokens[:-1]
        if not _MAY_FOLLOW[before, tokens].all():
            raise _refused("a comma or a number is missing, or a list is empty")
        self.last = int(tokens[-1])

    def _check_nesting(self, tokens: UInt8[ndarray, " tokens"]) -> None:
        """Compare the depth of each number and comma with what the shape says.

        No list is empty, so the comma of index i follows the number of index i, and it closes as
        many lists as i + 1 numbers fill.
        """
        depths = self.depth + np.cumsum(_STEPS[tokens])
        self.depth = int(depths[-1])
        at_commas = depths[tokens == _COMMA]
        count = np.arange(self.num_commas + 1, self.num_commas + 1 + at_commas.size)
        expected = np.full(at_commas.size, self.levels)
        for size in self._inner:
            expected -= count % size == 0
        self.num_commas += at_commas.size
        if (depths[tokens == _NUMBER] != self.levels).any() or (at_commas != expected).any():
            raise _refused(
                "their lists are ragged, or nested otherwise than shape "
                f"{list(self.shape)} (batch, height, width, channels)"
            )

    def _take(self, numbers: UInt8[ndarray, " numbers"]) -> None:
        stop = self.num_read + numbers.size
        if stop > self.values.size:
            raise _refused(f"shape {list(self.shape)} takes {self.values.size}, got more")
        self.values[self.num_read : stop] = numbers
        self.num_read = stop


def _numbers(
    raw: UInt8[ndarray, " text"], is_digit: Bool[ndarray, " text"], first: Int[ndarray, " numbers"]
) -> UInt8[ndarray, " numbers"]:
    """Values of the numbers that begin at `first`, each of one to three digits."""
    padded = np.zeros(raw.size + 3, np.uint8)
    padded[: raw.size][is_digit] = raw[is_digit] - ord("0")
    goes_on = np.zeros(raw.size + 3, bool)
    goes_on[: raw.size] = is_digit
    has_two = goes_on[first + 1]
    has_three = has_two & goes_on[first + 2]
    value = padded[first].astype(np.int32)
    has_leading_zero = has_two & (value == 0)
    has_four = has_three & goes_on[first + 3]
    value = np.where(has_two, value * 10 + padded[first + 1], value)
    value = np.where(has_three, value * 10 + padded[first + 2], value)
    if (has_leading_zero | has_four | (value > 255)).any():
        raise _refused("one is above 255, or begins with 0")
    return value.astype(np.uint8)


def _refused(reason: str) -> RequestError:
    return RequestError(422, "bad-data", f"data must be whole numbers from 0 to 255: {reason}")
