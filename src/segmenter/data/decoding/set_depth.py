"""One range for all images of a data set that have more than 8 bits a sample."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segmenter.data.masks.problems import Problem


def set_bits(found: Mapping[Path, int], given: int | None) -> int | None:
    """Return the bits that all images of a set are read with; None if none has more than 8.

    Args:
        found: The images that have more than 8, and the bits that each needs.
        given: What `classes.yaml` says.
    """
    return given if given is not None or not found else max(found.values())


def describe_bits(found: Mapping[Path, int], given: int | None) -> str | None:
    """Return one line on how images of more than 8 bits per sample are read; None without any."""
    bits = set_bits(found, given)
    if bits is None or not found:
        return None
    why = "as classes.yaml says" if given else "which hold the largest value of all"
    return (
        f"images with more than 8 bits per sample: {len(found)}, read as {bits} bits ({why}): "
        f"white is {(1 << bits) - 1}; image_bits in classes.yaml sets it"
    )


def depth_problems(found: Mapping[Path, int], given: int | None) -> list[Problem]:
    """Return a note for each image of more than 8 bits; one warning if most would turn out dark."""
    bits = set_bits(found, given)
    if bits is None or not found:
        return []
    dark = tuple(path for path, needed in found.items() if needed <= bits - 2)
    if bits - np.median(list(found.values())) >= 2:
        message = (
            f"the values of {dark[0]} need {found[dark[0]]} bits, and those of {len(dark)} of "
            f"{len(found)} images fewer than the {bits} that all are read with"
        )
        return [Problem("dark-depth", message, dark)]
    return [
        Problem(
            "deep-photo",
            f"{path}: its values need {needed} bits; {bits} are read, white is {(1 << bits) - 1}",
            (path,),
        )
        for path, needed in found.items()
    ]
