"""Arguments of `segmenter convert`."""

from pathlib import Path
from typing import Literal

from segmenter.commands.values import DONE


def convert(
    source: Path,
    out: Path,
    *,
    gpus: int | None = None,
    classes: Path | None = None,
    variant: Path | None = None,
    normalization: Literal["vit", "deit"] | None = None,
    window: int | None = None,
    stride: int | None = None,
    overwrite: bool = False,
) -> int:
    """Turn a checkpoint of another code base into a model file, or its config into a recipe.

    Args:
        source: A `.pdparams` or `.pth` of PaddleSeg, the paper's code or MMSegmentation; or a
            `.yml` config of PaddleSeg (read with its `_base_`), or a `variant.yml`.
        out: The file to write: a model, by custom `NAME.safetensors`, or a recipe, `NAME.yaml`.
        gpus: How many GPUs a config of PaddleSeg was run on; its batch size is that of one.
        classes: A `classes.yaml`, where the file does not say what its classes are.
        variant: The `variant.yml` of a checkpoint of the paper's code, if it is not beside it.
        normalization: Without any `variant.yml`: mean and std, 0.5 (vit) or ImageNet's (deit).
        window: Without any `variant.yml`: side of the sliding window.
        stride: Without any `variant.yml`: distance of neighbouring windows.
        overwrite: Replace a file that is there.
    """
    from segmenter.checkpoints.foreign.convert_checkpoint import run_conversion

    run_conversion(
        source,
        out,
        classes_file=classes,
        variant_file=variant,
        normalization=normalization,
        window=window,
        stride=stride,
        gpus=gpus,
        overwrite=overwrite,
    )
    return DONE
