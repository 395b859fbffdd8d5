"""Fits that leave images out: their scores on these estimate the scores on new images."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.fitting.classifier import Classifier, Fitter, balanced_weights, find_basis
from segmenter.fitting.samples import Samples, join, thin

MAX_SINGLE = 10
"""Up to this number of images, each is left out alone."""
NUM_FOLDS = 5
"""Parts of more images, each of which is left out once."""
STRENGTHS = (3e-1, 1e-1, 3e-2)
"""Penalties that are tried, in falling order: each fit starts from the one before."""
DEFAULT_STRENGTH = 1e-1
BALANCE = 0.75
"""A class of 16 times the pixels weighs twice as much: 16 ** (1 - 0.75)."""
_MAX_TRIED = 4000
"""Samples by which the penalty is chosen, of each class as many as there are."""


class FoldFits(NamedTuple):
    """The fit to all images, and those that leave some out."""

    strength: float
    """Weight of the penalty."""
    whole: Classifier
    left_out: tuple[Classifier | None, ...]
    """For each image, the fit that does not know it; None where it would know one class alone."""
    folds: Int64[ndarray, " images"]
    """The fold that each image was left out with."""


def fit_folds(samples: Sequence[Samples], num_classes: int) -> FoldFits:
    """Fit a classifier to samples of images, and one for each fold of them without that fold.

    The penalty is the one whose fits label the samples of the images left out best.

    Args:
        samples: Samples of each image; neighbours are alike, as in the order of their names.
        num_classes: Number of classes.

    Raises:
        UserError: If fewer than two classes have samples.
    """
    joined = join(samples)
    weights = balanced_weights(joined.labels, num_classes, joined.weights, BALANCE)
    basis = find_basis(joined.features)
    components = basis.project(joined.features)
    fitter = Fitter(basis, components, joined.labels, num_classes)
    owner = np.repeat(np.arange(len(samples)), [len(each) for each in samples])
    few, tried = thin(joined, num_classes, _MAX_TRIED)
    folds = _Folds(
        Fitter(basis, components[tried], few.labels, num_classes),
        few,
        fold_numbers(len(samples), NUM_FOLDS)[owner[tried]],
    )
    strength = folds.best_strength()
    whole = fitter.fit(weights, None, strength)
    of_images = fold_numbers(len(samples), MAX_SINGLE)
    singles = _Folds(fitter, joined, of_images[owner])
    fits = [singles.fit_without(fold, whole, strength) for fold in range(of_images.max() + 1)]
    if len(samples) == 1:
        fits = [None]
    return FoldFits(strength, whole, tuple(fits[fold] for fold in of_images), of_images)


def fold_numbers(count: int, most: int) -> Int64[ndarray, " images"]:
    """Return the fold of each image: one each if they are at most `most`, else `NUM_FOLDS`.

    Neighbours share a fold: frames of one video are alike, and would flatter each other.
    """
    num_folds = count if count <= most else NUM_FOLDS
    return np.arange(count) * num_folds // max(count, 1)


class _Folds(NamedTuple):
    """Samples in folds."""

    fitter: Fitter
    samples: Samples
    folds: Int64[ndarray, " samples"]
    """The fold of each."""

    def best_strength(self) -> float:
        """Return the penalty with the highest mean IoU on samples that fits do not know.

        Where no fold leaves two classes to the others, nothing chooses, and it is the default.
        """
        num_folds = int(self.folds.max()) + 1
        counts = np.zeros((len(STRENGTHS), 3, self.fitter.num_classes))
        for fold in range(num_folds):
            for place, labels in enumerate(self._labels(fold)):
                counts[place] += self._counts(labels, self.folds == fold)
        if not counts.any():
            return DEFAULT_STRENGTH
        mious = [_miou(each) for each in counts]
        return STRENGTHS[int(np.argmax(mious))]

    def _labels(self, fold: int) -> Iterator[Int64[ndarray, " samples"]]:
        """Yield the labels of all samples for each penalty, by fits that do not know a fold."""
        fit = None
        for strength in STRENGTHS:
            fit = self.fit_without(fold, fit, strength)
            if fit is None:
                return
            yield self.fitter.logits(fit).argmax(axis=1)

    def fit_without(
        self, fold: int, start: Classifier | None, strength: float
    ) -> Classifier | None:
        """Fit to all samples but those of a fold; None if these are of one class alone."""
        known = np.where(self.folds == fold, 0.0, self.samples.weights)
        labels, size = self.samples.labels, self.fitter.num_classes
        weights = balanced_weights(labels, size, known, BALANCE)
        try:
            return self.fitter.fit(weights, start, strength)
        except UserError:
            return None

    def _counts(
        self, labels: Int64[ndarray, " samples"], is_counted: Bool[ndarray, " samples"]
    ) -> Float[ndarray, "3 classes"]:
        """Return for each class its pixels that are right, in the truth, in the prediction."""
        size = self.fitter.num_classes
        weights, truth = self.samples.weights[is_counted], self.samples.labels[is_counted]
        labels = labels[is_counted]
        right = np.bincount(truth, weights * (truth == labels), minlength=size)
        both = (np.bincount(each, weights, minlength=size) for each in (truth, labels))
        return np.stack([right, *both])


def _miou(counts: Float[ndarray, "3 classes"]) -> float:
    """Return the mean IoU over the classes that are in truth or prediction."""
    right, truth, predicted = counts
    union = truth + predicted - right
    return float((right[union > 0] / union[union > 0]).mean()) if union.any() else 0.0
