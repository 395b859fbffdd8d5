"""Shapes into the label map of one image: the one place where they are painted."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16
from numpy import ndarray

from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import Shape
from segmenter.data.annotations.source import naming
from segmenter.errors import UserError

UNLABELLED, IGNORED = 65535, 65534
"""Stand for pixels that no shape covers, and for those of labels that are not classes."""


class Painted(NamedTuple):
    """The labels of an image, and what was met on the way."""

    labels: UInt16[ndarray, "height width"]
    """Class indices, `UNLABELLED` or `IGNORED`."""
    num_overlapping: int
    """Pixels that shapes of two classes cover."""
    num_cut: int
    """Shapes that reach out of the image."""
    num_empty: int
    """Shapes that cover no pixel of it."""


def paint(shapes: Sequence[Shape], size: Size, indices: Mapping[str, int]) -> Painted:
    """Paint shapes over each other: by their order, and of one order the smaller over the larger.

    Args:
        shapes: In the order of the export.
        size: Height and width of the image.
        indices: Index of each class, by its name.

    Raises:
        UserError: If a shape has no class, or does not belong to an image of this size.
    """
    patches = []
    for number, shape in enumerate(shapes):
        if shape.label not in indices:
            known = ", ".join(list(indices)[:20]) or "none"
            raise UserError(
                f"{shape.where} has the label {shape.label!r}, which is not a class of the export; "
                f"there are {known}: add it there, or correct the label"
            )
        with naming(shape.where):
            patch = shape.region.draw(size)
        area = int(np.count_nonzero(patch.mask))
        patches.append(((shape.order, -area, number), indices[shape.label], patch))
    patches.sort(key=lambda each: each[0])

    labels = np.full(size, UNLABELLED, dtype=np.uint16)
    was_overlapping = np.zeros(size, dtype=bool) if len(patches) > 1 else None
    for _, index, patch in patches:
        height, width = patch.mask.shape
        place = np.s_[patch.top : patch.top + height, patch.left : patch.left + width]
        below = labels[place]
        if was_overlapping is not None:
            was_overlapping[place] |= patch.mask & (below != UNLABELLED) & (below != index)
        below[patch.mask] = index
    return Painted(
        labels,
        num_overlapping=0 if was_overlapping is None else int(was_overlapping.sum()),
        num_cut=sum(patch.is_cut for _, _, patch in patches),
        num_empty=sum(not area for (_, area, _), _, _ in patches),
    )
