"""Estimate confidence intervals of scores by the bootstrap over images.

As many images as there are get drawn with replacement, again and again, and are scored together;
the middle 95 % of these scores is the interval (Efron's percentile bootstrap). Images are drawn
whole, since the pixels of one are alike. Two models are compared on the same draws, so that images
that are hard for both move neither (the paired bootstrap).

Images are taken as independent. Frames of one drive are not: there, intervals are too narrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from numpy import ndarray

from segmenter.evaluation.metrics import ABSENT_DICE, ABSENT_IOU, ConfusionMatrix
from segmenter.model.protocol import AbsentRule

NUM_RESAMPLES = 2000
LEVEL = 0.95
SEED = 0

_NUM_AT_ONCE = 100  # resamples; each is a number for each image

MEANS = {
    "miou": "mIoU",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
    "mean_dice": "mean Dice",
    "photo_miou": "mIoU, mean over images",
    "photo_mean_dice": "mean Dice, mean over images",
}
"""Scores that have an interval beside the IoU of each class, and their titles: four of `Scores`,
and two means of `ImageScore` over images."""


class Interval(NamedTuple):
    """The middle `LEVEL` of what was resampled."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Intervals of scores, or of differences of scores; None if a score is never defined."""

    means: dict[str, Interval | None]
    """Intervals of the means, by the names in `MEANS`."""
    ious: tuple[Interval | None, ...]
    """Interval of the IoU of each class, in the order of the class indices."""

    def to_json(self, names: Sequence[str]) -> dict[str, object]:
        """Return how they were made, and both ends of each; classes by name."""
        means = {name: each and list(each) for name, each in self.means.items()}
        ious = [each and list(each) for each in self.ious]
        return {
            "level": LEVEL,
            "resamples": NUM_RESAMPLES,
            "seed": SEED,
            **means,
            "iou": dict(zip(names, ious, strict=True)),
        }


@dataclass(frozen=True)
class ImageCounts:
    """All that scores need to know of each image, so that any choice of images can be scored."""

    counts: Int64[ndarray, "images 3 classes"]
    """Pixels of each class that are right, in the truth, in the prediction: see `image_counts`."""
    absent_rule: AbsentRule
    background_index: int | None

    def intervals(self) -> Intervals | None:
        """Return intervals of all scores; None for fewer than two images, which show no spread."""
        if len(self.counts) < 2:
            return None
        return _intervals(self._scored(drawn) for drawn in _draws(len(self.counts)))

    def intervals_over(self, other: "ImageCounts") -> Intervals | None:
        """Return intervals of this model's scores less another's on the same images.

        Raises:
            ValueError: If the images are not as many.
        """
        if len(self.counts) != len(other.counts):
            raise ValueError(f"{len(self.counts)} images against {len(other.counts)}")
        if len(self.counts) < 2:
            return None
        return _intervals(
            self._scored(drawn) - other._scored(drawn) for drawn in _draws(len(self.counts))
        )

    def _scored(self, drawn: Int64[ndarray, "resamples images"]) -> Float[ndarray, "resamples _"]:
        """Return the `MEANS` and the IoU of each class of each resample; NaN where not defined."""
        # Sums of pixels stay below 2**53: float64 holds them exactly, and its product is fast.
        times = drawn.astype(np.float64)
        flat = self.counts.reshape(len(self.counts), -1).astype(np.float64)
        right, true, predicted = (times @ flat).reshape(len(drawn), 3, -1).transpose(1, 0, 2)
        counted = self._counted
        iou = _ratio(right, true + predicted - right, ABSENT_IOU[self.absent_rule])
        dice = _ratio(2 * right, true + predicted, ABSENT_DICE[self.absent_rule])
        of_images = self._image_means
        is_known = ~np.isnan(of_images)
        columns = [
            _mean(iou[:, counted]),
            _mean(_ratio(right, true)[:, counted]),
            _ratio(right.sum(axis=1), true.sum(axis=1)),
            _mean(dice[:, counted]),
            *_ratio(times @ np.where(is_known, of_images, 0), times @ is_known).T,
        ]
        return np.concatenate([np.stack(columns, axis=1), iou], axis=1)

    @property
    def _counted(self) -> Bool[ndarray, " classes"]:
        """Return the labels that are classes: all but a background."""
        return np.arange(self.counts.shape[2]) != self.background_index

    @cached_property
    def _image_means(self) -> Float[ndarray, "images 2"]:
        """Mean IoU and Dice of each image, over the classes in its truth."""
        right, true, predicted = self.counts[:, :, self._counted].transpose(1, 0, 2).astype(float)
        is_there = true > 0
        iou = np.where(is_there, _ratio(right, true + predicted - right), np.nan)
        dice = np.where(is_there, _ratio(2 * right, true + predicted), np.nan)
        return np.stack([_mean(iou), _mean(dice)], axis=1)


def image_counts(matrix: ConfusionMatrix) -> Int64[ndarray, "3 classes"]:
    """Return what scores are made of: an image's pixels right, in truth, in prediction.

    Three numbers a class instead of one for each pair of classes, so that thousands of images of
    150 classes fit into some megabytes.
    """
    counts = matrix.counts
    return np.stack([counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)])


def _draws(num_images: int) -> Iterator[Int64[ndarray, "resamples images"]]:
    """Yield how often each image was drawn, some resamples at a time; always the same ones."""
    generator = np.random.default_rng(SEED)
    for start in range(0, NUM_RESAMPLES, _NUM_AT_ONCE):
        count = min(_NUM_AT_ONCE, NUM_RESAMPLES - start)
        yield generator.multinomial(num_images, np.full(num_images, 1 / num_images), size=count)


def _ratio(
    part: Float[ndarray, "*shape"], whole: Float[ndarray, "*shape"], undefined: float | None = None
) -> Float[ndarray, "*shape"]:
    empty = np.full(part.shape, np.nan if undefined is None else undefined)
    return np.divide(part, whole, out=empty, where=whole > 0)


def _mean(values: Float[ndarray, "rows classes"]) -> Float[ndarray, " rows"]:
    """Return the mean over classes that are defined."""
    is_defined = ~np.isnan(values)
    total = np.where(is_defined, values, 0).sum(axis=1)
    return _ratio(total, is_defined.sum(axis=1).astype(np.float64))


def _intervals(resampled: Iterator[Float[ndarray, "resamples _"]]) -> Intervals:
    columns = np.concatenate(list(resampled)).T
    found = [_interval(column) for column in columns]
    return Intervals(means=dict(zip(MEANS, found, strict=False)), ious=tuple(found[len(MEANS) :]))


def _interval(values: Shaped[ndarray, " resamples"]) -> Interval | None:
    """Return the interval; a class that no drawn image has is in no resample's score."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(float(low), float(high))
