"""`segmenter convert`."""

from pathlib import Path
from typing import Annotated, Literal

from segmenter import options
from segmenter.commands.flags import Output, flat


def convert(
    source: Path,
    out: Path,
    *,
    gpus: int | None = None,
    classes: Annotated[options.ClassesFile, flat("Data")] = options.ClassesFile(),
    variant: Path | None = None,
    normalization: Literal["vit", "deit"] | None = None,
    base: str | None = None,
    windows: Annotated[options.Windows, flat("Evaluation protocol")] = options.Windows(),
    output: Output = options.Output(),
) -> None:
    """Run `segmenter convert`.

    Args:
        source: A checkpoint of PaddleSeg, the paper's code, MMSegmentation, EoMT or PMT, or a
            linear head of DINO: a file, a folder or `hf:owner/name`. Or a `variant.yml`, or a
            `.yml` config of PaddleSeg, which is read with its `_base_`.
        out: The file to write: a model, by convention `NAME.safetensors`, or a recipe, `NAME.yaml`.
        gpus: Number of GPUs that a config of PaddleSeg was run on; its batch size is that of one.
        variant: The `variant.yml` of a checkpoint of the paper's code, if it is not beside it.
        normalization: Mean and standard deviation where there is no `variant.yml`: 0.5 (vit) or
            ImageNet's (deit); --window and --stride are then required.
        base: The encoder of a file that holds only a decoder, or differences to an encoder (EoMT
            with DINOv3): Meta's `.pth`, a folder, or `hf:owner/name`.
    """
    from segmenter.checkpoints.foreign.convert_checkpoint import FilesBeside, run_conversion

    converted = run_conversion(
        source,
        out,
        beside=FilesBeside(classes=classes.classes, variant=variant, base=base),
        normalization=normalization,
        windows=windows,
        gpus=gpus,
        overwrite=output.overwrite,
    )
    print(converted.summary)
