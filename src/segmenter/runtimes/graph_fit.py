"""Check that a graph is the one its facts describe: names, types, shapes, and a trial run.

What a graph declares of itself may be wrong, so a small picture goes through it too.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.model.segmenter import normalize
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.graph import INPUT

Run = Callable[[ndarray], ndarray]
"""From the graph's one input to its one output."""
_BATCH, _ROWS, _COLUMNS = 2, 3, 5
"""Batch of the trial, and its rows and columns in patches; all three differ."""


class Port(NamedTuple):
    """An input or output, as a graph declares it."""

    names: frozenset[str]
    dtype: str
    """Type, by its NumPy name."""
    shape: tuple[int | None, ...]
    """Lengths of the axes; None for a free length."""

    def __str__(self) -> str:
        """Such as `logits, float32 (?, 11, ?, ?)`."""
        lengths = ", ".join("?" if length is None else str(length) for length in self.shape)
        return f"{'/'.join(sorted(self.names))[:100]}, {self.dtype} ({lengths})"


def check_ports(inputs: Sequence[Port], outputs: Sequence[Port], facts: ExportFacts) -> None:
    """Refuse a graph whose input or output is another than its facts say.

    Raises:
        UserError: Naming both.
    """
    spec = facts.spec
    pixels = Port(frozenset({INPUT}), "float32", (None, spec.encoder.in_channels, None, None))
    found = Port(frozenset({"logits"}), "float32", (None, len(spec.classes), None, None))
    if facts.output == "labels":
        found = Port(frozenset({"labels"}), "int32", (None, None, None))
    for kind, wanted, given in (("input", pixels, inputs), ("output", found, outputs)):
        if len(given) != 1:
            raise UserError(f"the graph has {len(given)} {kind}s, and its metadata state one")
        (port,) = given
        if not (wanted.names <= port.names and port.dtype == wanted.dtype and _fits(port, wanted)):
            raise UserError(f"the graph's {kind} is {port}, but its metadata state {wanted}")


def check_trial(run: Run, facts: ExportFacts) -> None:
    """Refuse a graph that gives something else than what its facts say, or numbers not finite.

    Raises:
        UserError: If it does, or cannot be run at all.
    """
    spec = facts.spec
    patch, cells = spec.encoder.patch_size, spec.decoder.logits_per_patch_side
    shape = (_BATCH, spec.encoder.in_channels, _ROWS * patch, _COLUMNS * patch)
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    if spec.image is not None:
        pixels = np.moveaxis(spec.image.unstretch(np.moveaxis(pixels, 1, -1)), -1, 1)
        pixels = np.ascontiguousarray(pixels)
    if not facts.normalizes:
        pixels = normalize(torch.from_numpy(pixels), spec).numpy()
    try:
        found = run(pixels)
    except Exception as error:  # each runtime has its own errors
        raise UserError(f"the graph cannot be run: {last_line(error)}") from None
    wanted: tuple[int, ...] = (_BATCH, len(spec.classes), _ROWS * cells, _COLUMNS * cells)
    dtype = np.float32
    if facts.output == "labels":
        wanted, dtype = (_BATCH, *shape[2:]), np.int32
    if found.shape != wanted or found.dtype != dtype:
        raise UserError(
            f"the graph gives {found.dtype} {found.shape} for an image of {shape}, but its "
            f"metadata state {np.dtype(dtype)} {wanted}"
        )
    if not np.isfinite(found).all():
        raise UserError("the graph gives NaN or infinity")
    if facts.output == "labels" and not 0 <= found.min() <= found.max() < len(spec.classes):
        raise UserError(f"the graph gives labels above those of its {len(spec.classes)} classes")


def last_line(error: Exception) -> str:
    """Return the last line of a library's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]


def _fits(port: Port, wanted: Port) -> bool:
    """Return True if every length is as wanted, or left free by the graph."""
    return len(port.shape) == len(wanted.shape) and all(
        given is None or given == length
        for given, length in zip(port.shape, wanted.shape, strict=True)
    )
