"""`segmenter.convert`."""

from pathlib import Path
from typing import Literal, Unpack

from segmenter.api.inputs import check_outputs
from segmenter.api.keywords import CONVERT, ConvertKeywords
from segmenter.api.option_values import as_texts, make_options, shows_options
from segmenter.calls import check_types
from segmenter.checkpoints.foreign.convert_checkpoint import Converted, FilesBeside, run_conversion


@shows_options(*CONVERT)
def convert(
    source: str | Path,
    out: str | Path,
    *,
    gpus: int | None = None,
    variant: str | Path | None = None,
    normalization: Literal["vit", "deit"] | None = None,
    base: str | Path | None = None,
    **options: Unpack[ConvertKeywords],
) -> Converted:
    """Turn a checkpoint of another code base into a model file, or its config into a recipe.

    Args:
        source: A checkpoint of PaddleSeg, the paper's code, MMSegmentation, EoMT or PMT, or a
            linear head of DINO: a file, a folder or `hf:owner/name`. Or a `variant.yml`, or a
            `.yml` config of PaddleSeg, which is read with its `_base_`.
        out: The file to write: a model, by convention `NAME.safetensors`, or a recipe, `NAME.yaml`.
        gpus: Number of GPUs that a config of PaddleSeg was run on.
        variant: The `variant.yml` of a checkpoint of the paper's code, if it is not beside it.
        normalization: Mean and standard deviation where there is no `variant.yml`: 0.5 (vit) or
            ImageNet's (deit); window and stride are then required.
        base: The encoder of a file that holds only a decoder, or differences to an encoder (EoMT
            with DINOv3): Meta's `.pth`, a folder, or `hf:owner/name`.
        options: See below.

    Returns:
        `path`, the file written, and `summary`, what was found in the source.

    Raises:
        UserError: If the source is damaged, dangerous or not a Segmenter, or if `out` exists.

    Example:
        segmenter.convert("model.pdparams", "model.safetensors").path
    """
    source, out = as_texts("convert", source=source, out=out)
    if variant is not None:
        (variant,) = as_texts("convert", variant=variant)
    if base is not None:
        (base,) = as_texts("convert", base=base)
    check_types(
        "convert",
        {"gpus": int | None, "normalization": Literal["vit", "deit"] | None},
        {"gpus": gpus, "normalization": normalization},
    )
    classes, windows, output = make_options("convert", options, *CONVERT)
    check_outputs({"source": source, "out": Path(out), "variant": variant, "classes": classes})
    return run_conversion(
        Path(source),
        Path(out),
        beside=FilesBeside(
            classes=classes.classes,
            variant=None if variant is None else Path(variant),
            base=None if base is None else str(base),
        ),
        normalization=normalization,
        windows=windows,
        gpus=gpus,
        overwrite=output.overwrite,
    )
