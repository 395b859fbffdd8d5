"""Predict every image of a split and count the agreement with its mask."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import Item, read_sample
from segmenter.data.prefetch import prefetch
from segmenter.data.sample import Sample
from segmenter.errors import UserError
from segmenter.evaluation.bootstrap import ImageCounts, Intervals, image_counts
from segmenter.evaluation.calibration import TemperatureFit
from segmenter.evaluation.extra_metrics import Statistics
from segmenter.evaluation.metrics import (
    ClassScores,
    ConfusionMatrix,
    Scores,
    mean_of_defined,
    scores,
)
from segmenter.inference.predictor import Predictor
from segmenter.model import EvaluationProtocol
from segmenter.text import percent


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image."""

    name: str
    miou: float | None
    """Mean IoU over the classes that occur in its truth; None if nothing is labelled."""
    mean_dice: float | None
    """Mean Dice over the same classes."""
    pixel_accuracy: float | None
    """Share of its labelled pixels that are right; None if nothing is labelled."""

    def to_json(self) -> dict[str, str | float | None]:
        """Return all fields as plain values."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores and counts of one split."""

    matrix: ConfusionMatrix
    scores: Scores
    images: tuple[ImageScore, ...]
    """Scores of each image, in the order of the items."""
    counts: ImageCounts
    """Counts of each image, in the same order."""
    seconds: float
    """Time of reading, predicting and counting together."""
    statistics: Statistics | None = None
    """Further metrics, if asked for."""

    @property
    def miou(self) -> float | None:
        """Mean IoU over the classes, from 0 to 1; None where no pixel is labelled."""
        return self.scores.miou

    @property
    def per_class(self) -> dict[str, ClassScores]:
        """Scores of each class, by its name."""
        return {each.name: each for each in self.scores.classes}

    @property
    def confusion(self) -> Int64[ndarray, "classes classes"]:
        """Pixels; a row for each true class, a column for each predicted one."""
        return self.matrix.counts

    def __repr__(self) -> str:
        """Return the scores in one line, in per cent."""
        scores = self.scores
        return (
            f"Evaluation({len(self.images)} images: mIoU {percent(scores.miou)}, mean accuracy "
            f"{percent(scores.mean_accuracy)}, pixel accuracy {percent(scores.pixel_accuracy)})"
        )

    @cached_property
    def intervals(self) -> Intervals | None:
        """Confidence intervals of the scores; None for fewer than two images."""
        return self.counts.intervals()

    @property
    def means(self) -> dict[str, float | None]:
        """The scores that have an interval, by their names in `bootstrap.MEANS`."""
        return {
            "miou": self.scores.miou,
            "mean_accuracy": self.scores.mean_accuracy,
            "pixel_accuracy": self.scores.pixel_accuracy,
            "mean_dice": self.scores.mean_dice,
            "photo_miou": mean_of_defined([image.miou for image in self.images]),
            "photo_mean_dice": mean_of_defined([image.mean_dice for image in self.images]),
        }

    def to_json(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return context, scores, counts and images as plain values.

        Args:
            context: Model, data, split, protocol, versions and the like; its keys go first.
        """
        intervals = self.intervals
        return {
            **context,
            **self.scores.to_json(),
            **self.means,
            "intervals": intervals
            and intervals.to_json([each.name for each in self.scores.classes]),
            **({} if self.statistics is None else {"statistics": self.statistics.to_json()}),
            "num_images": len(self.images),
            "seconds": self.seconds,
            "images": [image.to_json() for image in self.images],
            "confusion": self.matrix.counts.tolist(),
        }


def evaluate(
    predictor: Predictor,
    items: Sequence[Item],
    classes: Classes,
    *,
    on_image: Callable[[ImageScore], None] | None = None,
    statistics: Statistics | None = None,
) -> Evaluation:
    """Evaluate a model on labelled images; the next image is read while one is predicted.

    Args:
        predictor: Labels one image.
        items: Images with masks.
        classes: Classes of the data; their names must be the model's, in the model's order.
        on_image: Called after each image, to show progress.
        statistics: Counts more of each image, from the probabilities of all classes at all pixels.

    Raises:
        UserError: If no image is given, one cannot be read, or the classes are not the model's.
    """
    if not items:
        raise UserError("nothing to evaluate: the split has no images")
    check_classes(classes.names, predictor.classes.names)
    classes = read_like(predictor, classes)
    labelled = _predicted(predictor, items, classes, statistics)
    return count_agreement(
        labelled, classes, predictor.protocol, on_image=on_image, statistics=statistics
    )


def count_agreement(
    labelled: Iterable[tuple[Item, ndarray, ndarray]],
    classes: Classes,
    protocol: EvaluationProtocol,
    *,
    on_image: Callable[[ImageScore], None] | None = None,
    statistics: Statistics | None = None,
) -> Evaluation:
    """Count where true and predicted labels agree, image by image.

    Args:
        labelled: Items, at least one, with their true and their predicted labels.
        classes: Classes of both.
        protocol: Says how classes count that are nowhere.
        on_image: Called after each image, to show progress.
        statistics: Further metrics of the same images, kept in what is returned.
    """
    start = time.perf_counter()
    matrix = ConfusionMatrix(len(classes), classes.ignore_index)
    images, counts = [], []
    for item, labels_true, labels in labelled:
        of_image = ConfusionMatrix(len(classes), classes.ignore_index)
        of_image.add(labels_true, labels)
        matrix.merge(of_image)
        counts.append(image_counts(of_image))
        images.append(
            score_image(
                item.name,
                scores(of_image, classes.names, background_index=classes.background_index),
            )
        )
        if on_image is not None:
            on_image(images[-1])
    return Evaluation(
        matrix=matrix,
        scores=score_all(matrix, classes, protocol),
        images=tuple(images),
        counts=ImageCounts(np.stack(counts), protocol.absent_classes, classes.background_index),
        seconds=time.perf_counter() - start,
        statistics=statistics,
    )


def _predicted(
    predictor: Predictor,
    items: Sequence[Item],
    classes: Classes,
    statistics: Statistics | None,
) -> Iterator[tuple[Item, ndarray, ndarray]]:
    """Yield items with their true and their predicted labels."""
    for item, sample in _samples(items, classes):
        with _naming(item):
            if statistics is None:
                labels = predictor(sample.image)
            else:
                labels, probabilities = predictor.labels_and_probabilities(sample.image)
                statistics.add(sample.labels, labels, probabilities)
        yield item, sample.labels, labels


def fit_temperature(
    predictor: Predictor,
    items: Sequence[Item],
    classes: Classes,
    *,
    on_image: Callable[[], None] | None = None,
) -> float:
    """Find the temperature that fits a model's probabilities to labelled images best.

    Args:
        predictor: Gives the probabilities.
        items: Images with masks, others than those that it is to be judged by.
        classes: Classes of the data; their names must be the model's, in the model's order.
        on_image: Called after each image, to show progress.

    Raises:
        UserError: As `evaluate`, or if no pixel is labelled.
    """
    if not items:
        raise UserError("nothing to fit a temperature on: the split has no images")
    check_classes(classes.names, predictor.classes.names)
    classes = read_like(predictor, classes)
    fit = TemperatureFit()
    for item, sample in _samples(items, classes):
        with _naming(item):
            fit.add(predictor.probabilities(sample.image), sample.labels)
        if on_image is not None:
            on_image()
    temperature = fit.temperature()
    if temperature is None:
        raise UserError("nothing to fit a temperature on: no pixel of the split is labelled")
    return temperature


def read_like(predictor: Predictor, classes: Classes) -> Classes:
    """Return the classes of the data, with images read as the model reads them."""
    return classes.with_image_bits(predictor.image_bits).with_image(predictor.classes.image)


@contextmanager
def _naming(item: Item) -> Iterator[None]:
    """Say which image a mistake is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{item.name}: {error}") from None


def score_all(matrix: ConfusionMatrix, classes: Classes, protocol: EvaluationProtocol) -> Scores:
    """Return scores over all images, by the rules of a protocol."""
    return scores(
        matrix,
        classes.names,
        absent_rule=protocol.absent_classes,
        background_index=classes.background_index,
    )


def score_image(name: str, of_image: Scores) -> ImageScore:
    """Sum up the scores of one image; a class that is not in its truth has no part in the mean."""
    in_truth = [each for each in of_image.counted if each.pixels]
    return ImageScore(
        name=name,
        miou=mean_of_defined([each.iou for each in in_truth]),
        mean_dice=mean_of_defined([each.dice for each in in_truth]),
        pixel_accuracy=of_image.pixel_accuracy,
    )


_MAX_NAMES_SHOWN = 10


def check_classes(of_data: Sequence[str], of_model: Sequence[str]) -> None:
    """Refuse data whose class names, or their order, are not the model's.

    Raises:
        UserError: If they differ; it names the classes that do.
    """
    if tuple(of_data) == tuple(of_model):
        return
    only_data = [name for name in of_data if name not in of_model]
    only_model = [name for name in of_model if name not in of_data]
    if only_data or only_model:
        difference = f"only in the data: {_list(only_data)}; only in the model: {_list(only_model)}"
    else:
        difference = f"the names are in another order: {_list(of_data)}, not {_list(of_model)}"
    raise UserError(
        f"the data has {len(of_data)} classes, the model {len(of_model)}, and they differ; "
        f"{difference}; use a model of these classes, or state the model's names in its order in "
        "classes.yaml of the data, or in another file with --classes"
    )


def _list(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES_SHOWN
    named = ", ".join(names[:_MAX_NAMES_SHOWN]) or "none"
    return named + (f" and {more} more" if more > 0 else "")


def _samples(items: Sequence[Item], classes: Classes) -> Iterator[tuple[Item, Sample]]:
    """Read items, one ahead: decoding frees the interpreter, and so overlaps with the model."""
    return prefetch(lambda item: (item, read_sample(item, classes)), items, 1)
