"""From scores to a label map at the photo's size, a band of rows at a time.

Scores of all classes at all pixels of a large photo would fill the memory, so they are resized
band by band, and of each band only the label of the highest score is kept.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

_BAND_NUMBERS = 1 << 23
"""Scores in one band: 32 MiB of float32."""


def to_labels(
    scores: Float[Tensor, "classes rows columns"],
    size: tuple[int, int],
    dtype: type[np.unsignedinteger],
) -> UInt[ndarray, "height width"]:
    """Resize scores bilinearly to `size`, and take the class with the highest; the first of equals.

    Args:
        scores: Logits or probabilities, at any size.
        size: Height and width of the label map.
        dtype: Of the label map; see `Classes.label_dtype`.
    """
    labels = np.empty(size, dtype=dtype)
    for rows in row_bands(len(scores), size):
        labels[rows] = resize_rows(scores, size, rows).argmax(dim=0).cpu().numpy()
    return labels


def add_resized(
    total: Float[Tensor, "classes height width"],
    scores: Float[Tensor, "classes rows columns"],
    *,
    softmax: bool,
) -> None:
    """Add scores, or their softmax over classes, to a sum of another size, in place."""
    size = (total.shape[1], total.shape[2])
    for rows in row_bands(len(total), size):
        band = resize_rows(scores, size, rows)
        total[:, rows] += band.softmax(dim=0) if softmax else band


def row_bands(num_classes: int, size: tuple[int, int]) -> Iterator[slice]:
    """Cut the rows of a picture into bands whose scores are few enough to hold at once."""
    height, width = size
    step = max(1, _BAND_NUMBERS // (num_classes * width))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def resize_rows(
    scores: Float[Tensor, "classes rows columns"], size: tuple[int, int], rows: slice
) -> Float[Tensor, "classes band width"]:
    """Some rows of the scores resized to `size`: bilinear, `align_corners=False`."""
    height, width = size
    num_rows = scores.shape[1]
    if num_rows == height:
        band = scores[:, rows]
    else:
        targets = torch.arange(rows.start, rows.stop, device=scores.device, dtype=scores.dtype)
        sources = ((targets + 0.5) * (num_rows / height) - 0.5).clamp(min=0)
        above = sources.long()
        below = (above + 1).clamp(max=num_rows - 1)
        share_below = (sources - above)[:, None]
        band = torch.lerp(scores[:, above], scores[:, below], share_below)
    if scores.shape[2] == width:
        return band
    resized = (band.shape[1], width)
    return F.interpolate(band[None], resized, mode="bilinear", align_corners=False)[0]
