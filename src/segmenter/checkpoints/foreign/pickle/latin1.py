"""Bytes that pickle protocol 2 wrote as text: each byte a character, the text as UTF-8.

Python's own way, `str(utf8, "utf-8").encode("latin1")`, branches at each byte. Half of the bytes of
weights, at random, take two bytes in UTF-8, so that it is slow; and it keeps to one core.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_PIECE = 1 << 18  # bytes at a time: what is made in between stays in the CPU's cache
_MAX_THREADS = 4


def decode_latin1(utf8: bytes | memoryview) -> bytearray:
    """Return the bytes behind a UTF-8 text of characters 0 to 255.

    Raises:
        ValueError: If it is not UTF-8, or has other characters.
    """
    raw = bytearray()
    num_threads = min(_MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(num_threads) as pool:  # NumPy lets the interpreter go meanwhile
        for piece in pool.map(_decode_piece, _pieces(np.frombuffer(utf8, np.uint8))):
            raw += piece.data
    return raw


def _pieces(utf8: UInt8[ndarray, " bytes"]) -> Iterator[UInt8[ndarray, " bytes"]]:
    """Parts of a text, with no character cut in two."""
    start = 0
    while start < len(utf8):
        end = min(start + _PIECE, len(utf8))
        if utf8[end - 1] >= 0xC0:
            end += 1
        yield utf8[start:end]
        start = end


def _decode_piece(piece: UInt8[ndarray, " bytes"]) -> UInt8[ndarray, " characters"]:
    """A character under 128 is one byte; any other is 0xC2 and itself, or 0xC3 and itself - 64."""
    is_lead = piece >= 0xC0
    is_upper = piece == 0xC3
    is_second = (piece >= 0x80) & ~is_lead
    num_known_leads = np.count_nonzero(is_upper) + np.count_nonzero(piece == 0xC2)
    # A second byte follows each lead, and nothing else.
    is_whole = np.array_equal(is_second[1:], is_lead[:-1]) and not is_second[0] and not is_lead[-1]
    if not is_whole or np.count_nonzero(is_lead) != num_known_leads:
        raise ValueError("a text that is not bytes")
    characters = piece.copy()
    characters[1:] += is_upper[:-1].view(np.uint8) * np.uint8(64)
    return np.take(characters, np.flatnonzero(~is_lead), mode="clip")
