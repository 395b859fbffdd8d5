"""Fits to images of a data set whose tokens are computed once, as `segmenter fit` does them."""

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segmenter.api.labelled_images import read_labelled
from segmenter.data.decoding.decode import decode_image
from segmenter.data.folder import Item, read_labels
from segmenter.evaluation.evaluate import Evaluation, count_agreement
from segmenter.fitting.classifier import Classifier
from segmenter.fitting.left_out import FoldFits, fit_folds
from segmenter.fitting.propose import label_pixels, propose
from segmenter.fitting.samples import count_pixels, plan_quotas, sample_pixels
from segmenter.fitting.start import prepare_start, spread
from segmenter.fitting.tokens import TokenStore
from segmenter.model.segmenter import ImageSize
from segmenter.options import DEFAULT_START, FitData
from segmenter.runtimes.features import feature_runtime

_MAX_ESTIMATED = 20
"""Images left out that a fit is scored on, at most."""
_MAX_BYTES = 20 << 30


class TimedFit(NamedTuple):
    """A fit, and its cost."""

    fits: FoldFits
    seconds: float
    """Of all threads of the process, without those of the tokens."""


class CachedFits:
    """Fits to images of a data set.

    Args:
        data: The data set. Its labelled images choose what is not given.
        folder: For the tokens.
        short_side: Short side that images are shown at, in pixels.
        shifts: Shifted views along each axis.
    """

    def __init__(self, data: Path, folder: Path, short_side: int | None, shifts: int = 1) -> None:
        labelled = read_labelled(str(data), FitData(), print)
        self.classes = labelled.classes
        sizes = labelled.sizes, short_side, shifts
        start = prepare_start(DEFAULT_START, str(data), self.classes, *sizes)
        runtime = feature_runtime(start.model)
        self.store = TokenStore(start.model, lambda: folder, _MAX_BYTES, runtime)
        print(*start.lines, runtime.describe(), sep="\n")
        folder.mkdir(parents=True, exist_ok=True)

    def token_seconds(self, items: Sequence[Item]) -> float:
        """Return the median seconds that all threads take for the tokens of an image."""
        seconds = []
        for item in items:
            image = decode_image(item.image)
            begin = time.process_time()
            self.store.compute(image)
            seconds.append(time.process_time() - begin)
        return statistics.median(seconds)

    def fit(self, items: Sequence[Item]) -> TimedFit:
        """Fit to some images."""
        tokens = [(self.store.read(item.image), read_labels(item, self.classes)) for item in items]
        begin = time.process_time()
        num_classes = len(self.classes)
        quotas = plan_quotas(np.array([count_pixels(labels, num_classes) for _, labels in tokens]))
        samples = [sample_pixels(*each, own) for each, own in zip(tokens, quotas, strict=True)]
        fits = fit_folds(samples, num_classes)
        return TimedFit(fits, time.process_time() - begin)

    def estimate(self, items: Sequence[Item], fits: FoldFits) -> float | None:
        """Return the mean IoU of images by fits that do not know them, as `segmenter fit` says."""
        places = spread(len(items), _MAX_ESTIMATED)
        known = [(items[each], fit) for each in places if (fit := fits.left_out[each]) is not None]
        return self._score(known).miou if known else None

    def evaluate(self, items: Sequence[Item], classifier: Classifier) -> Evaluation:
        """Score a fit on images."""
        return self._score([(item, classifier) for item in items])

    def confidence(self, item: Item, classifier: Classifier, size: ImageSize) -> float:
        """Return the mean probability of the labels that a fit gives an image, shown at a size."""
        return float(propose(self.store.read(item.image), classifier, size).confidence.mean())

    def mean_token(self, item: Item) -> np.ndarray:
        """Return the mean of an image's tokens."""
        return self.store.read(item.image).grid.mean(axis=(0, 1), dtype=np.float32)

    def _score(self, fits: Sequence[tuple[Item, Classifier]]) -> Evaluation:
        def label() -> Iterator[tuple[Item, np.ndarray, np.ndarray]]:
            for item, fit in fits:
                labels = label_pixels(self.store.read(item.image), fit)
                yield item, read_labels(item, self.classes), labels

        return count_agreement(label(), self.classes, self.store.model.spec.protocol)
