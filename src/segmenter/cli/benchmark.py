"""Arguments of `segmenter benchmark`."""

from segmenter.cli.values import DONE, Precision, RuntimeName


def benchmark(
    model: str = "street",
    *,
    size: tuple[int, int] = (512, 512),
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    device: str = "cpu",
    rounds: int = 9,
    json: bool = False,
) -> int:
    """Measure how fast a model labels a photo here, where the time goes, how far the limit is.

    Args:
        model: A bundled name, a model file, or an exported one.
        size: Height and width of the photo, which the model sees whole.
        runtime: What computes; auto: the fastest that is installed.
        precision: Arithmetic.
        device: Where to compute.
        rounds: How often each step is timed; medians count.
        json: Print all numbers as JSON instead.
    """
    from segmenter.commands.benchmark import run_benchmark

    run_benchmark(
        model,
        size,
        runtime=runtime,
        precision=precision,
        device=device,
        rounds=rounds,
        as_json=json,
    )
    return DONE
