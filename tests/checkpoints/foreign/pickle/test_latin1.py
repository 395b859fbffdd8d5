"""Bytes written as text by pickle protocol 2 are read back."""

import numpy as np
import pytest

from segmenter.checkpoints.foreign.pickle import latin1
from segmenter.checkpoints.foreign.pickle.latin1 import decode_latin1


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 1000])
def test_every_byte_comes_back_wherever_a_piece_ends(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latin1, "_PIECE", 16)
    for seed in range(5):
        raw = np.random.default_rng(seed).integers(0, 256, length, dtype=np.uint8).tobytes()
        assert decode_latin1(memoryview(raw.decode("latin1").encode())) == raw


@pytest.mark.parametrize(
    "text",
    [
        "Ā".encode(),
        "€".encode(),
        b"\x80",
        b"a\xc2",
        b"\xc3a",
        b"\xc3\xc3\x80",
        b"\xc0\x80",
        b"\xff",
    ],
)
def test_a_text_that_is_no_bytes_is_refused(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 16):
        monkeypatch.setattr(latin1, "_PIECE", size)
        for prefix in (b"", b"a", b"abc"):
            with pytest.raises(ValueError, match="not bytes"):
                decode_latin1(prefix + text)
