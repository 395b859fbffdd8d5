"""Lines that `segmenter predict` prints: sizes, each result, and the shares of the classes."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jaxtyping import Float
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from segmenter.data.decoding.decode import read_header
from segmenter.data.decoding.image_formats import describe_passed_over
from segmenter.drawing import shown_classes
from segmenter.errors import UserError
from segmenter.inference.predictor import Predictor
from segmenter.inference.shown_size import shown_size
from segmenter.predicting.class_shares import Summary
from segmenter.predicting.images import Result
from segmenter.predicting.profiling import StageClock, num_cpus
from segmenter.terminal import escape
from segmenter.text import percent, visible

NUM_HEADERS = 16
"""Images whose size is looked at before the first is predicted."""


def print_passed_over(counts: Counter[str]) -> None:
    """Print how many images and videos were found that cannot be read."""
    if counts:
        print(f"note: {describe_passed_over(counts)}")


def print_shown_size(predictor: Predictor, images: Sequence[Path]) -> None:
    """Print at which size the model is shown images, from the headers of a few of them."""
    sizes = []
    step = max(len(images) // NUM_HEADERS, 1)
    for path in images[::step]:
        with suppress(UserError):  # it is reported when its turn comes
            sizes.append(read_header(path).size)
    line = shown_size(
        *(sizes, predictor.protocol, predictor.spec.encoder.patch_size),
        num_seen=len(sizes) if step > 1 else None,
    )
    if line:
        print(line)


def report(result: Result, number: int, total: int) -> None:
    """Print that an image is done, or why it failed."""
    done = f"{result.seconds:.2f} s" if result.problem is None else "failed"
    if result.num_frames:
        done = f"{result.num_frames} frames, {result.seconds:.2f} s"
    print(f"[{number}/{total}] {visible(str(result.path))}: {done}")
    if result.problem is not None:
        print(f"segmenter: {visible(' '.join(result.problem.split()))}", file=sys.stderr)


def print_shares(summary: Summary) -> None:
    """Print the share of each class in the pixels of the first images, and the mean of all."""
    shares = summary.table()
    table = Table("image", "share of the pixels, in per cent")
    for image, row in zip(shares.images, shares.shares, strict=True):
        table.add_row(escape(image.name), _largest_first(shares.names, row))
    if shares.num_images > len(shares.images):
        table.add_row(f"and {shares.num_images - len(shares.images)} more", "")
    if shares.num_images > 1:
        table.add_section()
        table.add_row("mean", _largest_first(shares.names, shares.overall))
    Console().print(table)


def print_usage(clock: StageClock, num_done: int, num_images: int) -> None:
    """Print how long a run took and what the CPUs did, unless there was nothing to do.

    Args:
        clock: What was measured.
        num_done: Number of images that were labelled.
        num_images: Number of all images, with those that failed.
    """
    if num_images == 0:
        return
    of_all = f" of {num_images}" if num_done < num_images else ""
    used = clock.usage()
    shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in used.shares.items())
    print(
        f"{num_done}{of_all} done in {used.seconds:.1f} s, {used.num_busy:.2f} of {num_cpus()} "
        f"CPUs busy: {shares}"
    )


def _largest_first(names: Sequence[str], shares: Float[ndarray, " classes"]) -> str:
    """Return the classes that do not round to 0.0, such as `sky 60.1, tree 39.9`."""
    shown = (f"{names[index]} {percent(shares[index], 1)}" for index in shown_classes(shares))
    return escape(", ".join(shown))
