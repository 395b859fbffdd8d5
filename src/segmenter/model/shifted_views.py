"""Tokens finer than a patch: shift-and-stitch.

Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation" (CVPR 2015),
section 3.2: the outputs for shifted copies of the image are stitched into a finer grid. Here they
are the tokens of a plain ViT, so the encoder's weights and its number of tokens stay the same.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from segmenter.model.encoder import Grid


def view_offsets(patch_size: int, shifts: int) -> list[int]:
    """Return by how many pixels each view lies right of, or below, the image.

    Args:
        patch_size: Side of a patch, in pixels.
        shifts: Views along each axis.

    Returns:
        Offsets at which the patches' centres are evenly spaced, less than a pixel before the
        centres of a grid that is `shifts` times as fine.

    Example:
        view_offsets(16, 2)  # [-4, 4]
    """
    return [(2 * place + 1 - shifts) * patch_size // (2 * shifts) for place in range(shifts)]


def shifted_views(
    images: Float[Tensor, "batch channels height width"], patch_size: int, shifts: int
) -> Float[Tensor, "views channels height width"]:
    """Return `shifts` x `shifts` views of each image, view by view; pixels of its edges repeat."""
    offsets = view_offsets(patch_size, shifts)
    height, width = images.shape[2:]
    rows, columns = (
        [(torch.arange(side, device=images.device) + each).clamp(0, side - 1) for each in offsets]
        for side in (height, width)
    )
    views = [
        images.index_select(2, down).index_select(3, across) for down in rows for across in columns
    ]
    return torch.cat(views)


def stitch(
    features: Float[Tensor, "views patches features"], grid: Grid, shifts: int
) -> tuple[Float[Tensor, "batch tokens features"], Grid]:
    """Interleave the features of the views.

    Args:
        features: Features of `shifted_views`, row by row.
        grid: Rows and columns of patches of a view.
        shifts: Views along each axis.

    Returns:
        The features of the fine grid, row by row, and its rows and columns.
    """
    rows, columns = grid
    parts = features.unflatten(1, grid).unflatten(0, (shifts, shifts, -1))
    fine = parts.permute(2, 3, 0, 4, 1, 5).flatten(1, 4)
    return fine, (rows * shifts, columns * shifts)
