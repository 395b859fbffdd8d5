"""Report the size at which a model sees images, and what gets lost."""

import math
from collections.abc import Iterable

from segmenter.inference.resizing import resized_size
from segmenter.model import EvaluationProtocol

_MUCH_SMALLER = 0.5
"""Share of an image's own size below which things may get lost, and the line says so."""


def shown_size(
    sizes: Iterable[tuple[int, int]],
    protocol: EvaluationProtocol,
    patch: int,
    flag: str = "--short-side",
    num_seen: int | None = None,
) -> str | None:
    """Return one line that says at which size images are shown to a model; None for no image.

    The largest image decides. Where it is made much smaller, the line says which things become
    smaller than a patch, and how to show more.

    Args:
        sizes: Height and width of each image, in pixels.
        protocol: How images are shown.
        patch: Side of the model's patches, in pixels.
        flag: What sets the short side.
        num_seen: Number of images that were looked at, where there are more; None: these are all.
    """
    known = {size for size in sizes if min(size) > 0}
    if not known:
        return None
    height, width = largest = max(known, key=lambda size: (min(size), max(size)))
    images = f"images of {'up to ' if len(known) > 1 else ''}{width} x {height}"
    images += "" if num_seen is None else f" ({num_seen} looked at)"
    rows, columns = resized_size(largest, protocol)
    if (rows, columns) == largest:
        return f"{images} are shown at their own size"
    share = min(rows, columns) / min(largest)
    shown = f"{images} are shown at a short side of {min(rows, columns)} ({100 * share:.0f} %)"
    if share >= _MUCH_SMALLER:
        return shown
    more = min(2 * min(rows, columns), min(largest))
    return (
        f"{shown}: things under {math.ceil(patch / share)} pixels are smaller than one patch; "
        f"{flag} {more} shows more"
    )
