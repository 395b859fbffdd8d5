"""`segmenter prune`."""

from pathlib import Path
from typing import Annotated

from segmenter import options
from segmenter.commands.flags import Device, Model, Output, flat


def prune(
    model: Model,
    images: list[str],
    /,
    *,
    out: Path,
    smaller: Annotated[options.SmallerModel, flat("Size")] = options.SmallerModel(),
    device: Device = options.Device(),
    output: Output = options.Output(),
) -> None:
    """Run `segmenter prune`.

    Args:
        images: Images, folders or patterns, of the kind that the model is for.
        out: The file to write, by convention `NAME.safetensors`.
    """
    from segmenter.extras.pruning.prune_model import run_pruning

    run_pruning(model, images, out, smaller, device, overwrite=output.overwrite)
