"""Arguments of `segmenter benchmark`."""

from pathlib import Path

from segmenter.commands.values import DONE, Precision, RuntimeName


def benchmark(
    model: str = "street",
    *,
    size: tuple[int, int] = (512, 512),
    photo: Path | None = None,
    merge_tokens: float | None = None,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    device: str = "cpu",
    rounds: int = 9,
    json: bool = False,
) -> int:
    """Measure how fast a model labels an image here, where the time goes, how far the limit is.

    Args:
        model: A bundled name, a model file, or an exported one.
        size: Height and width of the image, which the model sees whole.
        photo: An image, which is brought to that size; without it, blocks of random colours.
        merge_tokens: Merge tokens whose cosine is above this, as for `predict`; how many that are
            depends on the image.
        runtime: What computes; auto: the fastest that is installed.
        precision: Arithmetic.
        device: Where to compute.
        rounds: How often each step is timed; medians count.
        json: Print all numbers as JSON instead.
    """
    from segmenter.extras.benchmarking.speed import run_benchmark

    run_benchmark(
        model,
        size,
        image_file=photo,
        merge_tokens=merge_tokens,
        runtime=runtime,
        precision=precision,
        device=device,
        rounds=rounds,
        as_json=json,
    )
    return DONE
