"""`segmenter convert`: a published checkpoint becomes a model file of this package."""

from pathlib import Path

from pydantic import ValidationError

from segmenter.checkpoints import save
from segmenter.checkpoints.published import read_published
from segmenter.checkpoints.variant import Variant, read_variant
from segmenter.classes import read_classes
from segmenter.errors import UserError
from segmenter.validation import first_problem


def run_conversion(
    checkpoint: Path,
    out: Path,
    *,
    classes_file: Path | None,
    variant_file: Path | None,
    normalization: str | None,
    window: int | None,
    stride: int | None,
    overwrite: bool,
) -> None:
    """Read a checkpoint, say what it is, and write it as a model.

    Raises:
        UserError: If the checkpoint is damaged, dangerous or no Segmenter, or `out` is there.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; give another name, or allow it with --overwrite")
    if not checkpoint.is_file():
        raise UserError(f"no such checkpoint: {checkpoint}")
    classes = read_classes(classes_file) if classes_file else None
    variant = _variant(variant_file, normalization, window, stride)
    published = read_published(checkpoint, classes=classes, variant=variant)
    if published is None:
        raise UserError(
            f"{checkpoint} holds weights but no Segmenter; a bare encoder is the start of a "
            "training run: `segmenter train --from`"
        )
    model = published.build(str(checkpoint))
    save(model, out, overwrite=overwrite)
    spec = published.spec
    names = spec.classes.names
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    protocol = spec.protocol
    lines = [
        f"{checkpoint}: {published.family}",
        f"encoder   {spec.encoder.architecture}, width {spec.encoder.embed_dim}, "
        f"{spec.encoder.depth} blocks, patch {spec.encoder.patch_size}",
        f"decoder   {spec.decoder.kind}",
        f"classes   {len(names)}: {shown}",
        f"protocol  {protocol.name}: short side {protocol.short_side}, window {protocol.window}, "
        f"stride {protocol.stride}",
        f"tensors   {len(published.tensors)} read, {len(published.dropped)} dropped"
        + (f": {', '.join(published.dropped)}" if published.dropped else ""),
        *(f"note      {note}" for note in published.notes),
        f"written   {out}",
    ]
    print("\n".join(lines))


def _variant(
    file: Path | None, normalization: str | None, window: int | None, stride: int | None
) -> Variant | None:
    """What stands in for the `variant.yml` beside a checkpoint of the paper's code, if anything."""
    given = {"normalization": normalization, "window": window, "stride": stride}
    missing = [name for name, value in given.items() if value is None]
    if file is not None:
        if len(missing) < len(given):
            raise UserError(
                "--variant says normalisation, window and stride; leave their flags out"
            )
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
