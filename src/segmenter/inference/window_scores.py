"""Scores of a row of windows: held as they are, or summed from masks when they are asked for."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segmenter.inference.interpolation import AxisMap, resize_axis
from segmenter.model.mask_scores import LEAST_SCORE, MaskScores


@runtime_checkable
class WindowScores(Protocol):
    """The scores of adjacent windows of some images, as if windows lay side by side."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, rows, columns and classes."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the scores."""
        ...

    def rows(self, start: int, stop: int) -> Float[Tensor, "images rows columns classes"]:
        """Return some rows."""
        ...


class HeldScores(NamedTuple):
    """Scores that are in memory."""

    scores: Float[Tensor, "images rows columns classes"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, rows, columns and classes."""
        return tuple(self.scores.shape)

    @property
    def device(self) -> torch.device:
        """Device of the scores."""
        return self.scores.device

    def rows(self, start: int, stop: int) -> Float[Tensor, "images rows columns classes"]:
        """Return some rows."""
        return self.scores[:, start:stop]


class SummedScores(NamedTuple):
    """Scores that are summed over queries for the rows that are asked for; see `MaskScores`."""

    masks: Float[Tensor, "images windows queries mask_rows mask_columns"]
    shares: Float[Tensor, "images windows queries classes"]
    size: tuple[int, int]
    """Rows and columns of scores in a window."""
    are_scores: bool
    """False: rows are logarithms of scores."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, rows, columns and classes."""
        images, windows, _, classes = self.shares.shape
        return images, self.size[0], windows * self.size[1], classes

    @property
    def device(self) -> torch.device:
        """Device of the scores."""
        return self.masks.device

    def rows(self, start: int, stop: int) -> Float[Tensor, "images rows columns classes"]:
        """Resize masks to some rows, and sum their sigmoids over queries for each class."""
        masks = self.masks
        below = _resized_rows(masks.shape[3], self.size[0])
        indices = torch.from_numpy(below.indices[start:stop]).to(masks.device)
        weights = torch.from_numpy(below.weights[start:stop]).float().to(masks.device)
        needed = masks[:, :, :, indices[:, 0]] * weights[:, 0, None]
        for tap in range(1, indices.shape[1]):
            needed += masks[:, :, :, indices[:, tap]] * weights[:, tap, None]
        wide = F.interpolate(  # the rows are there already
            needed.flatten(0, 1),
            (stop - start, self.size[1]),
            mode="bilinear",
            align_corners=False,
        )
        inside = wide.sigmoid_().flatten(2).transpose(1, 2)
        scores = (inside @ self.shares.flatten(0, 1)).clamp_(min=LEAST_SCORE)
        scores = scores if self.are_scores else scores.log_()
        images, windows = masks.shape[:2]
        side_by_side = scores.unflatten(1, (stop - start, self.size[1]))
        return side_by_side.unflatten(0, (images, windows)).transpose(1, 2).flatten(2, 3)


@lru_cache(maxsize=16)
def _resized_rows(old: int, new: int) -> AxisMap:
    return resize_axis(old, new)


def join_scores(parts: Sequence[Tensor | MaskScores]) -> Tensor | MaskScores:
    """Join the scores of batches of windows of one size."""
    masks = [part for part in parts if isinstance(part, MaskScores)]
    if not masks:
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return masks[0]._replace(
        masks=torch.cat([part.masks for part in masks]),
        shares=torch.cat([part.shares for part in masks]),
    )


def split_windows(
    found: Tensor | MaskScores, counts: tuple[int, int, int], *, are_scores: bool
) -> list[WindowScores]:
    """Split the scores of windows by the rows of windows.

    Args:
        found: (windows, classes, rows, columns), or masks; of windows in the order of `counts`.
        counts: Rows of windows, images, and windows in a row.
        are_scores: Whether scores are wanted, or their logarithms, which a tensor holds.
    """
    if isinstance(found, MaskScores):
        masks, shares = (each.float().unflatten(0, counts) for each in found[:2])
        return [
            SummedScores(mask, share, found.size, are_scores)
            for mask, share in zip(masks, shares, strict=True)
        ]
    logits = found.float().exp() if are_scores else found
    logits = logits.unflatten(0, counts)
    # (rows of windows, images, windows, classes, rows, columns): classes last, side by side
    return [HeldScores(each) for each in logits.permute(0, 1, 4, 2, 5, 3).flatten(3, 4)]
