"""Open a model in a runtime: choose runtime, precision and device."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from segmenter.checkpoints.open import is_exported, resolve
from segmenter.errors import UserError
from segmenter.files.optional import require
from segmenter.model import Segmenter
from segmenter.options import AUTO_DEVICE, Compute
from segmenter.runtimes.devices import usable_device
from segmenter.runtimes.runtime import Runtime
from segmenter.runtimes.table import (
    PRECISIONS,
    RUNTIME_NAMES,
    RUNTIMES,
    RuntimeRow,
    automatic_runtime,
)


def open_runtime(
    model: Segmenter | str | Path,
    compute: Compute = Compute(),  # noqa: B008 - it is frozen
) -> Runtime:
    """Open a model in the runtime that computes it.

    Args:
        model: A model, the bundled name or path of one, or an exported file.
        compute: Device, runtime, precision and merge threshold. The device `auto` is the GPU that
            is found, else the CPU; exported files and runtimes other than torch take the CPU.
            The runtime `auto` is on a CPU the first of OpenVINO, ONNX Runtime and torch that is
            installed, and elsewhere torch; a model given as an object, whose weights may change,
            stays in torch and on its device. The precision `auto` is bfloat16 where OpenVINO or a
            GPU has it natively, else float32.

    Raises:
        UserError: If any of these cannot be used, or not together.
    """
    runtime, precision = compute.runtime or "auto", compute.precision or "auto"
    if runtime not in RUNTIME_NAMES:
        raise UserError(f"no runtime {runtime!r}; choose from {', '.join(RUNTIME_NAMES)}")
    if precision not in PRECISIONS:
        raise UserError(f"no precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    if compute.device not in (None, AUTO_DEVICE):
        usable_device(compute.device)  # refused before a model is fetched
    source = model if isinstance(model, Segmenter) else resolve(model)
    place = _place(compute, source)
    automatic = _choose(source, place)
    row = automatic if runtime == "auto" else RUNTIMES[runtime]
    if compute.merge_threshold is not None:
        row = _merging_row(source, runtime)
        # As without merging, so that merging alone makes the difference.
        precision = automatic.load().settle_precision(precision, place)
    _check(row, source, precision, place)
    implementation = row.load()
    settled = implementation.settle_precision(precision, place)
    return implementation(source, replace(compute, precision=settled), place)


def _place(compute: Compute, source: Segmenter | Path) -> torch.device:
    """Return where to compute; `auto` is a GPU only for what torch computes.

    Raises:
        UserError: If the device named is not there.
    """
    if compute.device not in (None, AUTO_DEVICE):
        return usable_device(compute.device)
    if isinstance(source, Segmenter):
        return usable_device(source.mean.device)
    named = RUNTIMES.get(compute.runtime or "auto")
    if is_exported(source) or (named is not None and named.devices is not None):
        return torch.device("cpu")
    return usable_device()


def _choose(source: Segmenter | Path, device: torch.device) -> RuntimeRow:
    """Return the runtime that `auto` means."""
    if isinstance(source, Path) and is_exported(source):
        opening = [row for row in RUNTIMES.values() if source.suffix in row.opens]
        return min(opening, key=lambda row: (not row.runs_on(device.type), len(row.missing())))
    return automatic_runtime(device.type) if isinstance(source, Path) else RUNTIMES["torch"]


def _merging_row(source: Segmenter | Path, runtime: str) -> RuntimeRow:
    """Return the runtime that merges tokens of a model, if it is one that may be taken."""
    merging = {row.name: row for row in RUNTIMES.values() if row.merges_tokens}
    names = _join(merging)
    exported = isinstance(source, Path) and is_exported(source)
    if exported or runtime not in {"auto", *merging}:
        asked = f"{source}, which is exported" if exported else runtime
        raise UserError(
            f"tokens are merged in {names}, not in {asked}; give a model file and --runtime "
            f"{names}, or omit merge_threshold"
        )
    return merging[runtime] if runtime != "auto" else next(iter(merging.values()))


def _check(row: RuntimeRow, source: Segmenter | Path, precision: str, device: torch.device) -> None:
    """Reject what a runtime cannot do, before it is imported.

    Raises:
        UserError: Naming what it can do, or which other runtimes can do it.
    """
    if isinstance(source, Path) and is_exported(source) and source.suffix not in row.opens:
        opening = [each.name for each in RUNTIMES.values() if source.suffix in each.opens]
        raise UserError(
            f"{source} is exported: use --runtime {_join(['auto', *opening])}, not {row.name}"
        )
    if precision not in {"auto", *row.precisions}:
        others = [each.name for each in RUNTIMES.values() if precision in each.precisions]
        raise UserError(
            f"{row.name} computes in {_join(row.precisions)}; for {precision} use --runtime "
            f"{_join(others)}"
        )
    if not row.runs_on(device.type):
        others = [each.name for each in RUNTIMES.values() if each.runs_on(device.type)]
        raise UserError(
            f"{row.name} computes on {_join(row.devices or ())}, not on {device}; use --runtime "
            f"{_join(others)}"
        )
    require(f"the runtime {row.name}", *row.needs, extra=row.extra)


def _join(words: Iterable[str]) -> str:
    return " or ".join(words)
