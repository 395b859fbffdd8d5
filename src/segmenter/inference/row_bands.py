"""Images of one size through the model from top to bottom, a band of rows at a time.

Only the windows that touch a band are alive, so memory grows with the width of an image and not
with its height.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy import ndarray
from torch import Tensor

from segmenter.inference.interpolation import (
    AxisMap,
    TileWeights,
    resize_axis,
    tile_axis,
    tile_length,
    window_axis,
)
from segmenter.inference.labels import ViewLogits
from segmenter.inference.resizing import ImageRows, mean_size, read_rows, resize_image, view_sizes
from segmenter.inference.window_scores import WindowScores, split_windows
from segmenter.inference.windows import WindowGrid, window_grid, window_weights
from segmenter.model import EvaluationProtocol
from segmenter.model.mask_scores import MaskScores
from segmenter.model.segmenter import ImageSize

_MAX_BATCH = 8
_MAX_BATCH_PIXELS = 8 * 512 * 512
_BAND_NUMBERS = 1 << 22
"""Pixels in a band, or tiles times classes if that is more."""

ScorePatches = Callable[
    [Shaped[ndarray, "windows height width channels"]],
    Float[Tensor, "windows classes rows columns"] | MaskScores,
]
"""Function that scores the patches of any number of windows; pixels are 0 to 255."""

UpsampledLength = Callable[[int, int], int]
"""`Segmenter.upsampled_length`."""


class Band(NamedTuple):
    """Some rows of images of one size, with the logits of the model."""

    rows: slice
    """Rows of the images."""
    inside: tuple[slice, slice]
    """Part of the tiles' rows and columns that lies in the image."""
    parts: list[list[ViewLogits]]
    """Logits of each view, for each image."""


class Orientation(NamedTuple):
    """One of the eight ways to flip and turn an image: flipped first, then transposed."""

    flips_rows: bool = False
    flips_columns: bool = False
    transposes: bool = False

    def apply(
        self, windows: Shaped[ndarray, "windows height width channels"]
    ) -> Shaped[ndarray, "windows new_height new_width channels"]:
        """Return windows as the model sees them; torch takes no negative strides."""
        windows = windows[:, ::-1] if self.flips_rows else windows
        windows = windows[:, :, ::-1] if self.flips_columns else windows
        windows = windows.swapaxes(1, 2) if self.transposes else windows
        return windows.copy() if any(self) else windows


_TURNS = (
    Orientation(),
    Orientation(flips_rows=True, flips_columns=True),  # by 180 degrees
    Orientation(flips_rows=True, transposes=True),  # by 270 degrees
    Orientation(flips_columns=True, transposes=True),  # by 90 degrees
)


def orientations(protocol: EvaluationProtocol) -> list[Orientation]:
    """Return the ways in which an image is flipped and turned; as it is comes first."""
    return [
        Orientation(turn.flips_rows, turn.flips_columns != is_mirrored, turn.transposes)
        for turn in _TURNS[: protocol.rotations]
        for is_mirrored in ((False, True) if protocol.flip else (False,))
    ]


def batch_size(size: tuple[int, ...]) -> int:
    """Return how many pictures of this height and width go through the model at once."""
    height, width = size
    return max(1, min(_MAX_BATCH, _MAX_BATCH_PIXELS // (height * width)))


def split_band(band: Band, num_numbers: int) -> Iterator[Band]:
    """Cut a band into bands whose pixels have at most `num_numbers` scores or so in an image."""
    first_part = band.parts[0][0]
    num_rows, num_columns = first_part.grid
    height, width = first_part.tile_size
    scores_per_row = num_columns * width * height * first_part.logits.shape[2]
    step = max(1, num_numbers // scores_per_row)
    inside, columns = band.inside
    for first in range(0, num_rows, step):
        begin, end = first * height, min(first + step, num_rows) * height
        start, stop = max(begin, inside.start), min(end, inside.stop)
        if start >= stop:
            continue
        yield Band(
            slice(band.rows.start + start - inside.start, band.rows.start + stop - inside.start),
            (slice(start - begin, stop - begin), columns),
            [[part.cut(slice(first, first + step)) for part in parts] for parts in band.parts],
        )


def image_bands(
    images: Sequence[ImageRows],
    protocol: EvaluationProtocol,
    patch_logits: ScorePatches,
    upsampled_length: UpsampledLength,
) -> Iterator[Band]:
    """Show images of one size to a model as a protocol says, and walk down their rows.

    Args:
        images: Images of one size, each at least 1 x 1.
        protocol: At which sizes, through which windows, how flipped and turned.
        patch_logits: The model.
        upsampled_length: The length that the patch logits of a side are resized to.
    """
    size = (images[0].shape[0], images[0].shape[1])
    views = [
        _View(resized, view_size, orientation, protocol, patch_logits)
        for resized, view_size in _resized(images, protocol)
        for orientation in orientations(protocol)
    ]
    axes = [view.axes(size, mean_size(size, protocol), upsampled_length) for view in views]
    tile = tuple(tile_length([pair[axis] for pair in axes]) for axis in (0, 1))
    device = views[0].device
    rows = [tile_axis(down, tile[0], device) for down, _ in axes]
    columns = [tile_axis(across, tile[1], device) for _, across in axes]
    num_rows, num_columns = len(rows[0].indices), len(columns[0].indices)
    are_scores = protocol.window_average == "scores"
    in_tiles = num_columns * max(views[0].num_classes, tile[0] * tile[1])
    # A tile may have several rows of scores, which are no more in memory than those of its band.
    in_scores = max(len(images) * view.num_numbers // num_rows for view in views)
    step = max(1, _BAND_NUMBERS // max(in_tiles, in_scores))
    for first in range(0, num_rows, step):
        of_views = []
        for view, down, across in zip(views, rows, columns, strict=True):
            needed = down[first : first + step]
            top, bottom = int(needed.indices.min()), int(needed.indices.max()) + 1
            local = TileWeights(needed.indices - top, needed.weights)
            of_views.append(
                [
                    ViewLogits(one, local, across, are_scores=are_scores)
                    for one in view.logits(top, bottom)
                ]
            )
        begin = first * tile[0] - tile[0] // 2
        start, stop = max(begin, 0), min(begin + step * tile[0], size[0])
        inside = slice(start - begin, stop - begin), slice(tile[1] // 2, tile[1] // 2 + size[1])
        yield Band(
            slice(start, stop), inside, [list(parts) for parts in zip(*of_views, strict=True)]
        )


def _resized(
    images: Sequence[ImageRows], protocol: EvaluationProtocol
) -> Iterator[tuple[list[ImageRows], ImageSize]]:
    """Yield the images at the first of their two sizes, with the second, for each scale."""
    for image_size, view_size in view_sizes(images[0].shape[:2], protocol):
        yield (
            [
                resize_image(image, image_size, protocol.resize_dtype, protocol.resize_filter)
                for image in images
            ],
            view_size,
        )


class PlacedWindows(NamedTuple):
    """Windows of a view whose patches lie side by side, and where they are in the view."""

    size: ImageSize
    """Size of the view, in pixels."""
    grid: WindowGrid
    patches: tuple[int, int]
    """Rows and columns of patches in each window."""
    blend: str
    orientation: Orientation = Orientation()

    def axes(
        self, size: ImageSize, mean: ImageSize, upsampled_length: UpsampledLength
    ) -> tuple[AxisMap, AxisMap]:
        """Return how the patches of adjacent windows form an image of `size`, down and across."""
        grid = self.grid
        axes = []
        # Rows of patches are in the order of the image, so that it is read from top to bottom;
        # columns are in the order in which the model sees them.
        flips = (
            (self.orientation.flips_rows, self.patches[0] * len(grid.rows)),
            (self.orientation.flips_columns, None),
        )
        for num_patches, window, starts, (is_flipped, in_reverse), lengths in zip(
            self.patches,
            (grid.height, grid.width),
            (grid.rows, grid.columns),
            flips,
            zip(self.size, mean, size, strict=True),
            strict=True,
        ):
            full = resize_axis(num_patches, upsampled_length(num_patches, window))
            upsampled = AxisMap(full.indices[:window], full.weights[:window])
            axis = window_axis(upsampled, num_patches, starts, window_weights(window, self.blend))
            axis = axis.mirrored(in_reverse) if is_flipped else axis
            seen, averaged, wanted = lengths
            axis = axis if seen == averaged else axis.then(resize_axis(seen, averaged))
            axes.append(axis if averaged == wanted else axis.then(resize_axis(averaged, wanted)))
        down, across = axes
        return down, across


def patch_features(
    image: ImageRows, protocol: EvaluationProtocol, run: ScorePatches
) -> Float[Tensor, "rows columns features"]:
    """Return the features of the patches of all windows, as if windows lay side by side.

    Args:
        image: At least 1 x 1.
        protocol: At which size, through which windows; only the first scale, not mirrored.
        run: The model, with any numbers in place of classes.
    """
    (resized,), size = next(_resized([image], protocol))
    view = _View([resized], size, Orientation(), protocol, run)
    return view.logits(0, view.num_patch_rows * len(view.grid.rows))[0]


def patch_axes(
    size: ImageSize,
    protocol: EvaluationProtocol,
    shape: tuple[int, int],
    upsampled_length: UpsampledLength,
) -> tuple[AxisMap, AxisMap]:
    """Return how the rows and columns of `patch_features` form an image, down and across.

    Args:
        size: Height and width of the image.
        protocol: That of `patch_features`.
        shape: Rows and columns of its features.
        upsampled_length: The length that the patches of a side are resized to.
    """
    view = view_sizes(size, protocol)[0].view
    window = protocol.window or max(view)
    grid = window_grid(view, window, protocol.stride or window, protocol.spacing)
    patches = shape[0] // len(grid.rows), shape[1] // len(grid.columns)
    placed = PlacedWindows(view, grid, patches, protocol.blend)
    return placed.axes(size, mean_size(size, protocol), upsampled_length)


class _View:
    """One view of images of one size: its patch logits, computed when they are asked for."""

    def __init__(
        self,
        images: Sequence[ImageRows],
        size: ImageSize,
        orientation: Orientation,
        protocol: EvaluationProtocol,
        patch_logits: ScorePatches,
    ) -> None:
        window = protocol.window or max(size)
        self.images, self.size, self.orientation = images, size, orientation
        self.blend = protocol.blend
        self.averages_scores = protocol.window_average == "scores"
        self.grid = window_grid(size, window, protocol.stride or window, protocol.spacing)
        self.patch_logits = patch_logits
        self.tops, self.lefts = self.grid.rows, self.grid.columns
        if orientation.flips_rows:
            self.tops = [size[0] - top - self.grid.height for top in reversed(self.tops)]
        if orientation.flips_columns:
            self.lefts = [size[1] - left - self.grid.width for left in self.lefts]
        batch = batch_size((self.grid.height, self.grid.width))
        self.rows_at_once = max(1, batch // (len(images) * len(self.grid.columns)))
        self.alive: dict[int, WindowScores] = {}
        """Logits, or scores if these are averaged, by row of windows."""
        self._run(0)
        _, self.num_patch_rows, num_columns, self.num_classes = self.alive[0].shape
        self.num_patch_columns = num_columns // len(self.grid.columns)
        self.device = self.alive[0].device

    @property
    def num_numbers(self) -> int:
        """Number of scores of an image in this view."""
        num_rows = self.num_patch_rows * len(self.grid.rows)
        num_columns = self.num_patch_columns * len(self.grid.columns)
        return num_rows * num_columns * self.num_classes

    def axes(
        self, size: ImageSize, mean: ImageSize, upsampled_length: UpsampledLength
    ) -> tuple[AxisMap, AxisMap]:
        """Return how patch logits of adjacent windows form an image of `size`, down and across."""
        patches = self.num_patch_rows, self.num_patch_columns
        placed = PlacedWindows(self.size, self.grid, patches, self.blend, self.orientation)
        return placed.axes(size, mean, upsampled_length)

    def logits(self, top: int, bottom: int) -> Float[Tensor, "images rows columns classes"]:
        """Return the patch logits of some rows; what lies above them is forgotten."""
        first, last = top // self.num_patch_rows, (bottom - 1) // self.num_patch_rows
        self.alive = {row: logits for row, logits in self.alive.items() if row >= first}
        for row in range(first, last + 1):
            if row not in self.alive:
                self._run(row)
        starts = {row: row * self.num_patch_rows for row in range(first, last + 1)}
        needed = [
            self.alive[row].rows(max(top - start, 0), min(bottom - start, self.num_patch_rows))
            for row, start in starts.items()
        ]
        return needed[0] if len(needed) == 1 else torch.cat(needed, dim=1)

    def _run(self, row: int) -> None:
        """Run the model on a row of windows, and on those below that fit into its batch."""
        grid = self.grid
        tops = self.tops[row : row + self.rows_at_once]
        strips = [
            read_rows(image, self.size, slice(top, top + grid.height))
            for top in tops
            for image in self.images
        ]
        windows = np.stack(
            [strip[:, left : left + grid.width] for strip in strips for left in self.lefts]
        )
        found = self.patch_logits(self.orientation.apply(windows))
        rows = split_windows(
            self._in_image_order(found),
            (len(tops), len(self.images), len(self.lefts)),
            are_scores=self.averages_scores,
        )
        self.alive |= {row + index: each for index, each in enumerate(rows)}

    def _in_image_order(self, found: Tensor | MaskScores) -> Tensor | MaskScores:
        """Turn the logits so that their rows are in the order of the image."""
        if isinstance(found, MaskScores):
            size = found.size[::-1] if self.orientation.transposes else found.size
            return found._replace(masks=self._turned(found.masks), size=size)
        return self._turned(found)

    def _turned(
        self, maps: Float[Tensor, "windows maps rows columns"]
    ) -> Float[Tensor, "windows maps new_rows new_columns"]:
        maps = maps.swapaxes(2, 3) if self.orientation.transposes else maps
        return maps.flip(2) if self.orientation.flips_rows else maps
