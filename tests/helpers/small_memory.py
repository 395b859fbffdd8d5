"""A memory that holds only so many crops or windows, as a GPU's does."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from segmenter.model import Segmenter


def fill_memory_above(most: int, *, at_pass: int = 1) -> list[int]:
    """Let every model run out of memory, late in a pass, if it has more images than `most`.

    Args:
        most: Images that fit.
        at_pass: The first forward pass, counted from 1, in which memory is as small as this.

    Returns:
        The number of images in each pass that was tried, growing.
    """
    decode, tried = Segmenter.decode, []

    def decode_or_fail(self: Segmenter, features: Tensor, *others: object) -> object:
        tried.append(len(features))
        found = decode(self, features, *others)
        if len(features) > most and len(tried) >= at_pass:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return found

    Segmenter.decode = decode_or_fail
    return tried


@contextmanager
def small_memory(most: int, *, at_pass: int = 1) -> Iterator[list[int]]:
    """Do the same until the block ends."""
    decode = Segmenter.decode
    try:
        yield fill_memory_above(most, at_pass=at_pass)
    finally:
        Segmenter.decode = decode
