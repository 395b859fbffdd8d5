"""From patch logits to labels at the image's size, without scores of all classes at all pixels.

The picture is cut into tiles of about a patch. In a tile, scores are weighted means of the few
patch logits around it (`interpolation.py`), so a class whose highest logit there is below another's
lowest can win no pixel of the tile. Mostly one to four classes are left, and only these are
computed: the label map is that of the highest score at each pixel, at a fraction of the cost.

That holds where logits are averaged over views. A mean of softmaxes is not a weighted mean of
logits: there, all classes are computed, some tiles at a time. So are probabilities and margins.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt
from numpy import ndarray
from torch import Tensor

from segmenter.inference.interpolation import TileWeights
from segmenter.inference.threshold import is_at_least

Quantity = Literal["labels", "margins", "confidence", "probabilities"]
"""Quantity to compute for the pixels of an image."""

_GROUP_NUMBERS = 1 << 19
"""Scores that are computed at once: 2 MiB of float32, so that they stay in the cache."""

_FEW_CLASSES = 32

_ROUNDING = 1e-5
"""Bound of the rounding error of a probability: nearer to a threshold, a tile is computed."""


class ViewLogits(NamedTuple):
    """Logits of one view in a band of tile rows. All parts of a band have the same tiles."""

    logits: Float[Tensor, "rows columns classes"]
    """Logits of the patches of all windows that the band needs, as if windows lay side by side."""
    rows: TileWeights
    columns: TileWeights
    are_scores: bool = False
    """True: not logits but their exponentials, as `EvaluationProtocol.window_average` says."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return len(self.rows.indices), len(self.columns.indices)

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of a tile, in pixels."""
        return self.rows.weights.shape[1], self.columns.weights.shape[1]

    def cut(self, tile_rows: slice) -> "ViewLogits":
        """Return its part for some rows of tiles."""
        return self._replace(rows=self.rows[tile_rows])


def band_labels(
    parts: Sequence[ViewLogits], dtype: type[np.unsignedinteger], *, softmax: bool
) -> UInt[ndarray, "height width"]:
    """Return the class with the highest mean score at each pixel of a band; the first of equals.

    Args:
        parts: Logits of each view.
        dtype: Type of the labels; see `Classes.label_dtype`.
        softmax: Whether probabilities are averaged over the views instead of logits.
    """
    grid, (height, width) = parts[0].grid, parts[0].tile_size
    labels = np.empty((grid[0] * grid[1], width, height), dtype=dtype)
    if softmax:
        for tiles in _tile_groups(parts):
            probabilities = _mean_probabilities(parts, tiles, softmax=True)
            labels[_numpy(tiles)] = _first_highest(probabilities)
        return _assembled(labels, grid)
    for tiles, classes in _contenders(parts):
        names = _numpy(classes).astype(dtype)
        if names.shape[1] == 1:
            labels[_numpy(tiles)] = names[:, :, None]
            continue
        scores = _tile_scores(parts[0], tiles, classes)
        for part in parts[1:]:
            scores += _tile_scores(part, tiles, classes)
        winners = _first_highest(scores)
        labels[_numpy(tiles)] = names[np.arange(len(names))[:, None, None], winners]
    return _assembled(labels, grid)


def band_labels_above(
    parts: Sequence[ViewLogits],
    threshold: float,
    dtype: type[np.unsignedinteger],
    *,
    softmax: bool,
) -> UInt[ndarray, "height width"]:
    """Label each pixel of a band 1 where class 1, of two, is at least as probable as a threshold.

    Only tiles are computed in which the probability may lie on both sides of it: the softmax over
    two classes rises with the difference of their logits.

    Args:
        parts: Logits of each view.
        threshold: A probability, above 0 and below 1.
        dtype: Type of the labels; see `Classes.label_dtype`.
        softmax: Whether probabilities are averaged over the views instead of logits.
    """
    grid, (height, width) = parts[0].grid, parts[0].tile_size
    lowest, highest = _probability_bounds(parts, softmax=softmax)
    is_above = lowest > threshold + _ROUNDING
    is_open = (is_above | (highest < threshold - _ROUNDING)).logical_not()  # also if one is NaN
    labels = np.empty((grid[0] * grid[1], width, height), dtype=dtype)
    labels[:] = _numpy(is_above)[:, None, None]
    for tiles in _in_groups(is_open.nonzero()[:, 0], parts):
        probabilities = _mean_probabilities(parts, tiles, softmax=softmax)
        labels[_numpy(tiles)] = is_at_least(_numpy(probabilities[..., 1]), threshold)
    return _assembled(labels, grid)


def band_probabilities(
    parts: Sequence[ViewLogits], *, softmax: bool
) -> Float[ndarray, "classes height width"]:
    """Return the probability of each class at each pixel of a band; see `band_labels`."""
    num_classes = parts[0].logits.shape[2]
    return np.stack(_of_probabilities(parts, lambda each: each, num_classes, softmax=softmax))


def band_confidence(
    parts: Sequence[ViewLogits], threshold: float | None = None, *, softmax: bool
) -> Float[ndarray, "height width"]:
    """Return the probability of the most probable class at each pixel of a band, 0 to 1.

    Args:
        parts: Logits of each view.
        threshold: If given, of class 1, of two: the probability is that of the label.
        softmax: Whether probabilities are averaged over the views instead of logits.
    """
    measure = _highest if threshold is None else partial(_of_label, threshold)
    (confidence,) = _of_probabilities(parts, measure, softmax=softmax)
    return confidence


def band_margins(
    parts: Sequence[ViewLogits], threshold: float | None = None, *, softmax: bool
) -> Float[ndarray, "height width"]:
    """Return the probability of the best class minus that of the second, from 0 (a tie) to 1.

    Args:
        parts: Logits of each view.
        threshold: If given, of class 1, of two: margins are 0 where its probability is this, and
            rise to 1 on both sides.
        softmax: Whether probabilities are averaged over the views instead of logits.
    """
    measure = _margin if threshold is None else partial(_margin_from, threshold)
    (margins,) = _of_probabilities(parts, measure, softmax=softmax)
    return margins


def _highest(
    probabilities: Float[Tensor, "group width height classes"],
) -> Float[Tensor, "group width height 1"]:
    return probabilities.amax(dim=-1, keepdim=True)


def _of_label(
    threshold: float, probabilities: Float[Tensor, "group width height 2"]
) -> Float[Tensor, "group width height 1"]:
    """Return the probability of class 1 where it is the label, and of the background elsewhere."""
    of_class = probabilities[..., 1:]
    return torch.where(of_class >= threshold, of_class, probabilities[..., :1])


def _margin_from(
    threshold: float, probabilities: Float[Tensor, "group width height 2"]
) -> Float[Tensor, "group width height 1"]:
    """Return the distance from the threshold, as a share of what is possible on that side."""
    above = probabilities[..., 1:] - threshold
    return torch.where(above >= 0, above / (1 - threshold), above / -threshold)


def _margin(
    probabilities: Float[Tensor, "group width height classes"],
) -> Float[Tensor, "group width height 1"]:
    best, winners = probabilities.max(dim=-1, keepdim=True)
    return best - probabilities.scatter_(-1, winners, 0.0).amax(dim=-1, keepdim=True)


def _of_probabilities(
    parts: Sequence[ViewLogits],
    measure: Callable[
        [Float[Tensor, "group width height classes"]], Float[Tensor, "group width height numbers"]
    ],
    num_numbers: int = 1,
    *,
    softmax: bool,
) -> list[Float[ndarray, "height width"]]:
    """Compute numbers from the probabilities at each pixel, of which few are held at once."""
    grid, (height, width) = parts[0].grid, parts[0].tile_size
    found = np.empty((num_numbers, grid[0] * grid[1], width, height), dtype=np.float32)
    for tiles in _tile_groups(parts):
        numbers = measure(_mean_probabilities(parts, tiles, softmax=softmax))
        found[:, _numpy(tiles)] = np.moveaxis(_numpy(numbers), -1, 0)
    return [_assembled(each, grid) for each in found]


def _contenders(
    parts: Sequence[ViewLogits],
) -> Iterator[tuple[Int64[Tensor, " group"], Int64[Tensor, "group contenders"]]]:
    """Yield tiles and the classes that can win in them, rising; the last may be repeated.

    Tiles of one group have about as many contenders.
    """
    may_win = _may_win(parts)
    counts = may_win.sum(dim=1)
    classes = may_win.nonzero()[:, 1]  # of all tiles, one after the other
    starts = counts.cumsum(dim=0) - counts
    order = counts.argsort(descending=True)
    falling = counts[order].cpu().numpy()
    height, width = parts[0].tile_size
    begin = 0
    while begin < len(falling):
        most = int(falling[begin])
        end = int(np.searchsorted(-falling, -(most // 2), side="left"))
        end = min(end, begin + max(1, _GROUP_NUMBERS // (most * height * width)))
        tiles = order[begin:end]
        places = torch.arange(most, device=tiles.device).minimum(counts[tiles, None] - 1)
        yield tiles, classes[starts[tiles, None] + places]
        begin = end


def _may_win(parts: Sequence[ViewLogits]) -> Bool[Tensor, "tiles classes"]:
    """Find the classes that can have the highest sum of scores somewhere in a tile."""
    highest, lowest = 0, 0
    for part in parts:
        around = part.logits[part.rows.indices]
        high, low = around.amax(dim=1), around.amin(dim=1)
        highest = high[:, part.columns.indices].amax(dim=2) + highest
        lowest = low[:, part.columns.indices].amin(dim=2) + lowest
    assert isinstance(highest, Tensor)
    assert isinstance(lowest, Tensor)
    is_beaten = highest < lowest.amax(dim=2, keepdim=True)  # never so if one is NaN
    return is_beaten.logical_not().flatten(0, 1)


def _tile_groups(parts: Sequence[ViewLogits]) -> Iterator[Int64[Tensor, " group"]]:
    """Yield all tiles of a band, as many at a time as all classes of their pixels allow."""
    rows, columns = parts[0].grid
    yield from _in_groups(torch.arange(rows * columns, device=parts[0].logits.device), parts)


def _in_groups(
    tiles: Int64[Tensor, " tiles"], parts: Sequence[ViewLogits]
) -> Iterator[Int64[Tensor, " group"]]:
    """Yield some tiles, as many at a time as all classes of their pixels allow."""
    height, width = parts[0].tile_size
    step = max(1, _GROUP_NUMBERS // (height * width * parts[0].logits.shape[2]))
    yield from tiles.split(step)


def _probability_bounds(
    parts: Sequence[ViewLogits], *, softmax: bool
) -> tuple[Float[Tensor, " tiles"], Float[Tensor, " tiles"]]:
    """Return the lowest and the highest probability that class 1, of two, can have in each tile."""
    lowest, highest = 0, 0
    for part in parts:
        difference = part.logits[..., 1] - part.logits[..., 0]
        around = difference[part.rows.indices]
        low = around.amin(dim=1)[:, part.columns.indices].amin(dim=2).flatten()
        high = around.amax(dim=1)[:, part.columns.indices].amax(dim=2).flatten()
        lowest = (low.sigmoid() if softmax else low) + lowest
        highest = (high.sigmoid() if softmax else high) + highest
    assert isinstance(lowest, Tensor)
    assert isinstance(highest, Tensor)
    lowest, highest = lowest / len(parts), highest / len(parts)
    return (lowest, highest) if softmax else (lowest.sigmoid(), highest.sigmoid())


def _mean_probabilities(
    parts: Sequence[ViewLogits], tiles: Int64[Tensor, " group"], *, softmax: bool
) -> Float[Tensor, "group width height classes"]:
    """Return the mean of the views' softmaxes, or the softmax of the mean of their logits.

    Where a part holds scores, their shares of the sum take the place of the softmax.
    """
    normalize = _shares if parts[0].are_scores else _softmax
    total = None
    for part in parts:
        scores = _tile_scores(part, tiles)
        scores = normalize(scores) if softmax else scores
        total = scores if total is None else total.add_(scores)
    assert total is not None
    total /= len(parts)
    return total if softmax else normalize(total)


def _shares(
    scores: Float[Tensor, "group width height classes"],
) -> Float[Tensor, "group width height classes"]:
    """Divide positive scores by their sum over classes."""
    return scores / scores.sum(dim=-1, keepdim=True)


def _softmax(
    scores: Float[Tensor, "group width height classes"],
) -> Float[Tensor, "group width height classes"]:
    """Apply softmax over classes; torch's own takes several times as long for a dozen of them."""
    if scores.shape[-1] > _FEW_CLASSES:
        return scores.softmax(dim=-1)
    powers = (scores - scores.amax(dim=-1, keepdim=True)).exp_()
    return powers.div_(powers.sum(dim=-1, keepdim=True))


def _tile_scores(
    part: ViewLogits,
    tiles: Int64[Tensor, " group"],
    classes: Int64[Tensor, "group contenders"] | None = None,
) -> Float[Tensor, "group width height contenders"]:
    """Compute scores at each pixel of some tiles, of all classes or of some for each tile."""
    num_columns = part.grid[1]
    row, column = tiles // num_columns, tiles % num_columns
    rows = part.rows.indices[row][:, None, :]
    columns = part.columns.indices[column][:, :, None]
    if classes is None:
        patches = part.logits[rows, columns]
    else:
        patches = part.logits[rows[..., None], columns[..., None], classes[:, None, None, :]]
    vertical = part.rows.weights[row][:, None] @ patches  # (group, columns, height, contenders)
    scores = torch.bmm(part.columns.weights[column], vertical.flatten(2))
    return scores.unflatten(2, vertical.shape[2:])


def _first_highest(
    scores: Float[Tensor, "group width height contenders"],
) -> Int64[ndarray, "group width height"]:
    """Return the first contender with the highest score; NumPy is several times faster on a CPU."""
    if scores.device.type == "cpu":
        return scores.numpy().argmax(axis=-1)
    return scores.argmax(dim=-1).cpu().numpy()


def _numpy(tensor: Tensor) -> ndarray:
    return tensor.cpu().numpy()


def _assembled(tiles: ndarray, grid: tuple[int, int]) -> ndarray:
    """Put tiles (tiles, width, height) into their places."""
    _, width, height = tiles.shape
    rows, columns = grid
    placed = tiles.reshape(rows, columns, width, height).transpose(0, 3, 1, 2)
    return placed.reshape(rows * height, columns * width)
