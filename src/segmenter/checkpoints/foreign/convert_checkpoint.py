"""`segmenter convert`: a checkpoint becomes a model file of this package, a config a recipe."""

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from segmenter.calls import check_types
from segmenter.checkpoints import save
from segmenter.checkpoints.foreign.convert_config import convert_config
from segmenter.checkpoints.foreign.paddleseg.inherit import CONFIG_SUFFIXES
from segmenter.checkpoints.foreign.read import read_foreign_model
from segmenter.checkpoints.foreign.rstrudel.variant import Variant, read_variant
from segmenter.checkpoints.hub import is_hub_name
from segmenter.checkpoints.open import resolve
from segmenter.classes import Classes, read_classes
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.protocol import Side
from segmenter.options import Windows


@dataclass(frozen=True)
class Converted:
    """A file that was made from a checkpoint or a config."""

    path: Path
    """The model, or the recipe."""
    summary: str
    """Facts that were found in the source, one a line."""


@dataclass(frozen=True, kw_only=True)
class FilesBeside:
    """Files that say what a checkpoint does not; each may be absent."""

    classes: Path | None = None
    """A `classes.yaml`."""
    variant: Path | None = None
    """A `variant.yml` of the paper's code."""
    base: str | None = None
    """The encoder that the checkpoint adds a decoder or differences to: a path, or
    `hf:owner/name`."""


def run_conversion(
    source: Path,
    out: Path,
    *,
    beside: FilesBeside,
    normalization: str | None,
    windows: Windows,
    gpus: int | None,
    overwrite: bool,
) -> Converted:
    """Read a checkpoint or a config, and write it as a model or as a recipe.

    Raises:
        UserError: If the file is damaged, dangerous or no Segmenter, or `out` is there.
    """
    if os.path.lexists(out) and not overwrite:
        raise UserError(f"{out} exists; give another name, or allow it with --overwrite")
    if source.is_dir() or is_hub_name(str(source)):
        source = resolve(str(source))
    if not source.is_file():
        raise UserError(f"no such checkpoint or config: {source}")
    if source.suffix.lower() in CONFIG_SUFFIXES:
        if beside != FilesBeside() or normalization or windows != Windows():
            raise UserError(
                f"{source} is a config: --classes, --variant, --normalization, --window, --stride "
                "and --base are for checkpoints"
            )
        return Converted(out, convert_config(source, out, gpus=gpus, overwrite=overwrite))
    if source.suffix.lower() == ".py":
        raise UserError(f"{source} is a Python config, whose code would run; give a YAML config")
    if gpus is not None:
        raise UserError(f"{source} is not a config: --gpus is for configs of PaddleSeg")
    check_types("convert", {"window": Side | None}, {"window": windows.window})
    is_window_alone = windows == Windows(window=windows.window) and not (
        beside.variant or normalization
    )
    summary = _convert_checkpoint(
        source,
        out,
        read_classes(beside.classes) if beside.classes else None,
        None if is_window_alone else _variant(beside.variant, normalization, windows),
        resolve(beside.base) if beside.base else None,
        windows.window if is_window_alone else None,
        overwrite=overwrite,
    )
    return Converted(out, summary)


def _convert_checkpoint(
    checkpoint: Path,
    out: Path,
    classes: Classes | None,
    variant: Variant | None,
    base: Path | None,
    window: int | None,
    *,
    overwrite: bool,
) -> str:
    """Convert a checkpoint; return what was found in it, line by line.

    `window` replaces the side of windows that a file does not state.
    """
    foreign = read_foreign_model(checkpoint, classes=classes, variant=variant, base=base)
    if foreign is None:
        raise UserError(
            f"{checkpoint} holds weights but no Segmenter; a bare encoder is the start of a "
            "training run: `segmenter train --from`"
        )
    if window is not None:
        foreign = foreign.with_window(window, str(checkpoint))
    model = foreign.build(str(checkpoint))
    save(model, out, overwrite=overwrite)
    spec = foreign.spec
    names = spec.classes.names
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    protocol = spec.protocol
    lines = [
        f"{checkpoint}: {foreign.family}",
        f"encoder   {spec.encoder.architecture}, width {spec.encoder.embed_dim}, "
        f"{spec.encoder.depth} blocks, patch {spec.encoder.patch_size}",
        f"decoder   {spec.decoder.kind}",
        f"classes   {len(names)}: {shown}",
        f"protocol  {protocol.name}: short side {protocol.short_side}, window {protocol.window}, "
        f"stride {protocol.stride}",
        f"tensors   {len(foreign.tensors)} read, {len(foreign.dropped)} dropped"
        + (f": {', '.join(foreign.dropped)}" if foreign.dropped else ""),
        *(f"note      {note}" for note in foreign.assumptions),
        f"written   {out}",
    ]
    return "\n".join(lines)


def _variant(file: Path | None, normalization: str | None, windows: Windows) -> Variant | None:
    """Return the replacement of the `variant.yml` beside a checkpoint, if there is any."""
    given = {"normalization": normalization, "window": windows.window, "stride": windows.stride}
    missing = [name for name, value in given.items() if value is None]
    if file is not None:
        if len(missing) < len(given):
            raise UserError("--variant sets normalisation, window and stride; omit their flags")
        return read_variant(file)
    if len(missing) == len(given):
        return None
    if missing:
        flags = ", ".join(f"--{name}" for name in missing)
        raise UserError(f"--normalization, --window and --stride go together; {flags} is missing")
    try:
        return Variant.model_validate(given)
    except ValidationError as error:
        raise UserError(first_problem(error, Variant)) from None
