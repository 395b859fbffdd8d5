"""Arguments of `segmenter prune`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter.commands.values import DONE


def prune(
    model: str,
    images: list[str],
    /,
    *,
    out: Path,
    depth: int | None = None,
    blocks: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    mlp_ratio: float | None = None,
    max_photos: int = 40,
    device: str = "cpu",
    overwrite: bool = False,
) -> int:
    """Make a smaller, faster model out of a trained one, by images without labels, in minutes.

    Whole blocks of the encoder are left out, and what matters least inside the others; the rest is
    fitted so that it does what the whole model does on these images (docs/pruning.md).

    Args:
        model: A bundled name, a model file, or hf:owner/name.
        images: Images, folders or patterns; such as the model is to be good at.
        out: The file to write, by custom `NAME.safetensors`.
        depth: How many blocks stay; which ones is found out.
        blocks: Which blocks stay, from 0, such as `--blocks 0 1 3 5 8`; 0 has to.
        mlp_ratio: Hidden channels of each MLP relative to the width, 4 in most models; without it,
            as they are.
        max_photos: So many are looked at, evenly spread over those given.
        device: Where to compute.
        overwrite: Replace a file that is there.
    """
    from segmenter.extras.pruning.prune_model import run_pruning

    run_pruning(
        model,
        images,
        out,
        depth=depth,
        blocks=blocks,
        mlp_ratio=mlp_ratio,
        max_photos=max_photos,
        device=device,
        overwrite=overwrite,
    )
    return DONE
