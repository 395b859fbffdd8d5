"""Reading every mask once before training starts: whether all fit, and how often classes occur."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decode import read_size
from segmenter.data.folder import Item, check_sizes, read_labels
from segmenter.errors import UserError


@dataclass(frozen=True)
class Survey:
    """What the masks of some items hold."""

    pixel_counts: Int64[ndarray, "items classes"]
    """Pixels of each class in each item; ignored pixels are not counted."""


def survey(items: Sequence[Item], classes: Classes, workers: int = 0) -> Survey:
    """Read every mask and the header of every image.

    Args:
        items: What is to be trained on or scored.
        classes: The classes that mask values are mapped to.
        workers: Threads that read, at least one; decoding runs beside Python's lock.

    Raises:
        UserError: If items cannot be used: how many, and what is wrong with the first.
    """

    def count_pixels(item: Item) -> Int64[ndarray, " classes"] | UserError:
        try:
            labels = read_labels(item, classes)
            check_sizes(item, read_size(item.image), (labels.shape[0], labels.shape[1]))
        except UserError as problem:
            return problem
        counts = np.bincount(labels.ravel(), minlength=len(classes))
        return counts[: len(classes)].astype(np.int64)

    with ThreadPoolExecutor(max(workers, 1)) as executor:
        results = list(executor.map(count_pixels, items))
    problems = [result for result in results if isinstance(result, UserError)]
    if problems:
        raise UserError(
            f"{len(problems)} of {len(items)} labelled images cannot be used; the first: "
            f"{problems[0]}"
        )
    counts = [result for result in results if isinstance(result, ndarray)]
    return Survey(np.array(counts, dtype=np.int64).reshape(len(items), len(classes)))
