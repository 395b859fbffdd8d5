"""`segmenter benchmark`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter.commands.flags import Compute, ComputeFlags, Model


def benchmark(
    model: Model = "street",
    *,
    size: Annotated[tuple[int, int], Parameter(negative=())] = (512, 512),
    image: Path | None = None,
    compute: Compute = ComputeFlags(),
    rounds: int = 9,
    json: bool = False,
) -> None:
    """Run `segmenter benchmark`.

    Args:
        size: Height and width of the image, which the model sees whole.
        image: Image, resized to that size. [default: blocks of random colours]
        rounds: How often each step is timed; medians count.
        json: Print all numbers as JSON instead.
    """
    from segmenter.extras.benchmarking.speed import run_benchmark

    run_benchmark(model, size, image_file=image, compute=compute, rounds=rounds, as_json=json)
