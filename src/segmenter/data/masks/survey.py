"""Reading every mask once before training starts: whether all fit, and how often classes occur."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.masks.inspection import inspect_header, inspect_mask
from segmenter.data.masks.problems import Problem, errors_in
from segmenter.data.pairing.items import Item
from segmenter.errors import UserError


@dataclass(frozen=True)
class Survey:
    """What the masks of some items hold."""

    pixel_counts: Int64[ndarray, "items classes"]
    """Pixels of each class in each item; ignored pixels are not counted."""
    problems: tuple[Problem, ...]
    """What training does not stop at, in the order of the items."""


def survey(items: Sequence[Item], classes: Classes, workers: int = 0) -> Survey:
    """Read every mask and the header of every image.

    Args:
        items: What is to be trained on or scored.
        classes: The classes that mask values are mapped to.
        workers: Threads that read, at least one; decoding runs beside Python's lock.

    Raises:
        UserError: If items cannot be used: how many, and what is wrong with the first.
    """

    def inspect(item: Item) -> tuple[Int64[ndarray, " classes"], tuple[Problem, ...]]:
        header, problems = inspect_header(item)
        mask = inspect_mask(item, classes, header, header.size if header else None)
        return mask.pixel_counts, mask.problems + problems

    with ThreadPoolExecutor(max(workers, 1)) as executor:
        found = list(executor.map(inspect, items))
    errors = [error for _, problems in found for error in errors_in(problems)[:1]]
    if errors:
        raise UserError(
            f"{len(errors)} of {len(items)} labelled images cannot be used; the first: "
            f"{errors[0].message}"
        )
    counts = np.array([pixel_counts for pixel_counts, _ in found], dtype=np.int64)
    return Survey(
        counts.reshape(len(items), len(classes)),
        tuple(problem for _, problems in found for problem in problems),
    )
