"""Augmentation: from a labelled image to the square crop that is trained on.

The crop is placed first. Where the resized image would be much larger than it, only the part under
the crop is resized; the result is that of resizing first.
"""

import math
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from segmenter.data.jitter import jitter_colors, jitter_levels
from segmenter.data.operations import (
    Draws,
    change_pixels,
    cut_out,
    draw_operations,
    rotation_matrix,
    turn,
    warp,
)
from segmenter.data.sample import Sample
from segmenter.image_spec import ImageSpec, by_opencv
from segmenter.recipe import AugmentRecipe

Size = tuple[int, int]
"""Height and width, in pixels."""

STRONG = AugmentRecipe(
    crop_size=1,  # not used: the crop is placed already
    color="segmenter",
    gamma=0.5,
    gamma_limit=2.0,
    grey=0.2,
    blur=0.5,
    blur_sigma=2.0,
    noise=0.5,
    cutout=0.5,
    cutout_size=0.5,
)
"""Changes of a strong view. UniMatch V2 has the same changes of colour and a CutMix."""
_MAX_DRAWS = 10
_GREY = 127.5
_WARP_COST = 3  # of a pixel in OpenCV's affine warp, where one in its resize costs 1


@dataclass(frozen=True)
class CropTransform:
    """Resize, crop, turn, change colours, pad; all random numbers come from the given generator."""

    augment: AugmentRecipe
    """Settings: what is drawn, and from which ranges."""
    mean: tuple[float, ...]
    """Mean of the images per channel, 0 to 255; may fill the crop outside the image."""
    ignore_index: int
    """Label of the crop outside the image."""
    image: ImageSpec | None = None
    """Bands, type and range of the images; None: RGB of 8 bits."""

    def __call__(
        self, sample: Sample, rng: np.random.Generator, focus_class: int | None = None
    ) -> Sample:
        """Make a crop of `crop_size` x `crop_size`.

        Args:
            sample: The whole image.
            rng: The only source of randomness.
            focus_class: Place the crop on a random pixel of this class, if there is one.
        """
        draws = draw_operations(self.augment, rng)
        size = self._draw_size((sample.labels.shape[0], sample.labels.shape[1]), rng)
        rows, columns = self._draw_window(sample.labels, size, rng, focus_class)
        if "rotate" in draws:
            most = self.augment.rotate_degrees
            degrees = draws["rotate"].uniform(-most, most)
            image, labels = self._rotate_window(sample, size, (rows, columns), degrees)
        else:
            image = resize_window(sample.image, size, rows, columns)
            labels = resize_labels_window(sample.labels, size, rows, columns)
        if rng.random() < self.augment.flip:
            image, labels = by_opencv(partial(cv2.flip, flipCode=1), image), labels[:, ::-1]
        image, labels = turn(image, labels, draws)
        image, labels = warp(image, labels, self.augment, self.ignore_index, draws)
        if self.image is None:
            image = jitter_colors(image, self.augment.color, rng)
            return self._pad(*self._change(image, labels, draws))
        levels = jitter_levels(self.image.stretch(image), self.augment.color, rng)
        padded = self._pad(*self._change(levels, labels, draws))
        return Sample(self.image.unstretch(padded.image), padded.labels)

    def strong_view(
        self, image: Shaped[ndarray, "height width channels"], rng: np.random.Generator
    ) -> Shaped[ndarray, "height width channels"]:
        """Return a crop with other colours and sharpness, and a square cut out at times.

        Every pixel that is not cut out stays in its place, so what is known of the crop holds for
        its strong view.

        Args:
            image: A finished crop.
            rng: The only source of randomness.
        """
        draws = draw_operations(STRONG, rng)
        fill = self._fill(image.shape[2])
        jitter = jitter_colors if self.image is None else jitter_levels
        levels = image if self.image is None else self.image.stretch(image)
        levels = change_pixels(jitter(levels, STRONG.color, rng), STRONG, fill, draws)
        if "cutout" in draws:
            labels = np.zeros(image.shape[:2], np.uint8)
            levels, _ = cut_out(levels, labels, STRONG, (fill, 0), draws["cutout"])
        return levels if self.image is None else self.image.unstretch(levels)

    def _change(
        self,
        image: Shaped[ndarray, "height width channels"],
        labels: Shaped[ndarray, "height width"],
        draws: Draws,
    ) -> Sample:
        """Change colours and cut out a square; levels are 0 to 255."""
        if not draws:
            return Sample(image, labels)
        fill = self._fill(image.shape[2])
        image = change_pixels(image, self.augment, fill, draws)
        if "cutout" in draws:
            filled = fill, self.ignore_index
            image, labels = cut_out(image, labels, self.augment, filled, draws["cutout"])
        return Sample(image, labels)

    def _rotate_window(
        self, sample: Sample, size: Size, window: tuple[slice, slice], degrees: float
    ) -> Sample:
        """Cut a window that is turned about its centre; outside the image labels are ignored.

        The image is mirrored at its edges, because what has no label needs no fill of its own.
        """
        rows, columns = window
        height, width = rows.stop - rows.start, columns.stop - columns.start
        cos, sin = (abs(each(math.radians(degrees))) for each in (math.cos, math.sin))
        near_rows = _widen(rows, height * cos + width * sin, size[0])
        near_columns = _widen(columns, width * cos + height * sin, size[1])
        center = (
            rows.start + (height - 1) / 2 - near_rows.start,
            columns.start + (width - 1) / 2 - near_columns.start,
        )
        to_source = rotation_matrix(height, width, center, degrees)
        rotate = partial(
            cv2.warpAffine,
            M=to_source,
            dsize=(width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        image = by_opencv(rotate, resize_window(sample.image, size, near_rows, near_columns))
        labels = cv2.warpAffine(
            resize_labels_window(sample.labels, size, near_rows, near_columns),
            to_source,
            (width, height),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=self.ignore_index,
        )
        return Sample(image, np.asarray(labels))

    def _draw_size(self, size: Size, rng: np.random.Generator) -> Size:
        """Draw the size that the whole image is resized to."""
        low, high = self.augment.scale
        if self.augment.scale_draw == "quarters":
            factor = float(rng.integers(math.ceil(low * 4), math.floor(high * 4) + 1)) / 4
        elif self.augment.scale_draw == "log-uniform":
            factor = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            factor = rng.uniform(low, high)
        if self.augment.scale_base is None:
            return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)
        long_base = self.augment.max_ratio * self.augment.scale_base
        short, long = int(self.augment.scale_base * factor), int(long_base * factor)
        ratio = min(short / min(size), long / max(size))
        return max(int(size[0] * ratio + 0.5), 1), max(int(size[1] * ratio + 0.5), 1)

    def _draw_window(
        self,
        labels: Shaped[ndarray, "height width"],
        size: Size,
        rng: np.random.Generator,
        focus_class: int | None,
    ) -> tuple[slice, slice]:
        """Draw rows and columns of the crop in the resized image."""
        window = slice(0), slice(0)
        for _ in range(_MAX_DRAWS):
            row = column = None
            if focus_class is not None:
                row, column = _draw_pixel(labels, size, focus_class, rng)
            window = self._draw_span(size[0], row, rng), self._draw_span(size[1], column, rng)
            if self.augment.max_class_share >= 1:
                break
            inside = resize_labels_window(labels, size, *window)
            counts = np.bincount(inside[inside != self.ignore_index])
            if len(counts) and counts.max() <= self.augment.max_class_share * counts.sum():
                break
        return window

    def _draw_span(self, length: int, inside: int | None, rng: np.random.Generator) -> slice:
        """Draw a crop's span on one axis, evenly from all, or from those with pixel `inside`."""
        last = max(length - self.augment.crop_size, 0)
        first = 0
        if inside is not None:
            first, last = max(inside - self.augment.crop_size + 1, 0), min(inside, last)
        start = int(rng.integers(first, last + 1))
        return slice(start, min(start + self.augment.crop_size, length))

    def _pad(
        self,
        image: Shaped[ndarray, "height width channels"],
        labels: Shaped[ndarray, "height width"],
    ) -> Sample:
        """Fill a crop that reaches past the image; levels are 0 to 255."""
        height, width = labels.shape
        side, channels = self.augment.crop_size, image.shape[2]
        if height == width == side:
            return Sample(image, labels)
        # Whole rows are filled: numpy is slow at filling pixel by pixel.
        padding = np.tile(self._fill(channels), side).astype(image.dtype)
        rows = np.empty((side, side * channels), dtype=image.dtype)
        rows[:height, : width * channels] = image.reshape(height, -1)
        rows[:height, width * channels :] = padding[width * channels :]
        rows[height:] = padding
        padded_labels = np.full((side, side), self.ignore_index, dtype=labels.dtype)
        padded_labels[:height, :width] = labels
        return Sample(rows.reshape(side, side, channels), padded_labels)

    def _fill(self, channels: int) -> Int64[ndarray, " channels"]:
        """Return the level of each channel outside the image."""
        color = (_GREY,) * channels if self.augment.pad_value == "grey" else self.mean
        return np.array([int(value + 0.5) for value in color])


def resize_window(
    image: Shaped[ndarray, "height width channels"], size: Size, rows: slice, columns: slice
) -> Shaped[ndarray, "window_height window_width channels"]:
    """Return `cv2.resize(image, size)[rows, columns]` (bilinear), without resizing the rest."""
    if size == image.shape[:2]:
        return image[rows, columns]
    num_pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    if size[0] * size[1] <= _WARP_COST * num_pixels:
        return by_opencv(partial(cv2.resize, dsize=size[::-1]), image)[rows, columns]
    first_row, step_row, near_rows = _source_span(image.shape[0], size[0], rows)
    first_column, step_column, near_columns = _source_span(image.shape[1], size[1], columns)
    to_source = np.array([[step_column, 0, first_column], [0, step_row, first_row]])
    window = (columns.stop - columns.start, rows.stop - rows.start)
    resize = partial(
        cv2.warpAffine,
        M=to_source,
        dsize=window,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return by_opencv(resize, image[near_rows, near_columns])


def resize_labels_window(
    labels: Shaped[ndarray, "height width"], size: Size, rows: slice, columns: slice
) -> Shaped[ndarray, "window_height window_width"]:
    """Return `cv2.resize(labels, size)[rows, columns]` (nearest), without resizing the rest."""
    near_rows = _nearest(labels.shape[0], size[0])[rows]
    near_columns = _nearest(labels.shape[1], size[1])[columns]
    return np.take(labels[near_rows], near_columns, axis=1)


def _source_span(source: int, resized: int, window: slice) -> tuple[float, float, slice]:
    """Locate a window of one resized axis on the source axis.

    Returns:
        The part of the source that is needed, as the last; the place of the window's first pixel
        within that part; and the step from pixel to pixel.
    """
    step = source / resized
    first = (window.start + 0.5) * step - 0.5
    last = (window.stop - 0.5) * step - 0.5
    needed = slice(max(math.floor(first) - 1, 0), min(math.ceil(last) + 2, source))
    return first - needed.start, step, needed


def _widen(window: slice, length: float, most: int) -> slice:
    """Lengthen a window of an axis evenly to both sides, as far as the axis reaches."""
    extra = max(math.ceil((length - (window.stop - window.start)) / 2), 0) + 1
    return slice(max(window.start - extra, 0), min(window.stop + extra, most))


def _nearest(source: int, resized: int) -> Int64[ndarray, " resized"]:
    """Return the source index of each resized pixel, with the arithmetic of INTER_NEAREST."""
    places = np.floor(np.arange(resized) * (1 / (resized / source)))
    return np.minimum(places, source - 1).astype(np.int64)


def _draw_pixel(
    labels: Shaped[ndarray, "height width"],
    size: Size,
    class_index: int,
    rng: np.random.Generator,
) -> tuple[int | None, int | None]:
    """Draw a pixel of a class; return its row and column in the resized image."""
    rows, columns = (_nearest(*lengths) for lengths in zip(labels.shape, size, strict=True))
    # When an image shrinks, only some of its rows and columns are seen at all.
    seen_rows, seen_columns = np.unique(rows), np.unique(columns)
    found = np.flatnonzero(labels[seen_rows][:, seen_columns] == class_index)
    if not len(found):
        return None, None
    row, column = divmod(int(rng.choice(found)), len(seen_columns))
    return (
        _draw_copy(rows, int(seen_rows[row]), rng),
        _draw_copy(columns, int(seen_columns[column]), rng),
    )


def _draw_copy(places: Int64[ndarray, " resized"], source: int, rng: np.random.Generator) -> int:
    """Draw one of the resized pixels that copy a source pixel."""
    first, end = np.searchsorted(places, source), np.searchsorted(places, source, side="right")
    return int(rng.integers(first, end))
