"""Predict every photo of a split and count how it agrees with the truth."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import Item, read_sample
from segmenter.data.sample import Sample
from segmenter.errors import UserError
from segmenter.evaluation.metrics import ConfusionMatrix, Scores, mean_of_defined, scores
from segmenter.inference.predictor import Predictor
from segmenter.model import Protocol


@dataclass(frozen=True)
class ImageScore:
    """How one photo fared."""

    name: str
    miou: float | None
    """Mean IoU over the classes that occur in its truth; none where nothing is labelled."""
    pixel_accuracy: float | None
    """Share of its labelled pixels that are right; none where nothing is labelled."""

    def to_json(self) -> dict[str, str | float | None]:
        """All fields as plain values."""
        return {"name": self.name, "miou": self.miou, "pixel_accuracy": self.pixel_accuracy}


@dataclass(frozen=True)
class Evaluation:
    """What was found on one split."""

    matrix: ConfusionMatrix
    scores: Scores
    images: tuple[ImageScore, ...]
    """In the order of the items."""
    seconds: float
    """Reading, predicting and counting, together."""

    def to_json(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Scores, counts and photos as plain values, after what they hold for.

        Args:
            context: Model, data, split, protocol, versions and the like; its keys go first.
        """
        return {
            **context,
            **self.scores.to_json(),
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
) -> Evaluation:
    """Score a model on labelled photos; the next photo is read while one is predicted.

    Args:
        predictor: Labels one photo.
        items: Photos with masks.
        classes: Of the data; their names must be the model's, in the model's order.
        on_image: Called after each photo, to show progress.

    Raises:
        UserError: If there is no photo, one cannot be read, or the classes are not the model's.
    """
    if not items:
        raise UserError("nothing to evaluate: the split has no photos")
    check_classes(classes.names, predictor.classes.names)
    start = time.perf_counter()
    matrix = ConfusionMatrix(len(classes), classes.ignore_index)
    images = []
    for item, sample in _read_ahead(items, classes):
        of_image = ConfusionMatrix(len(classes), classes.ignore_index)
        of_image.add(sample.labels, _predicted(predictor, item.name, sample))
        matrix.merge(of_image)
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
        scores=score_all(matrix, classes, predictor.protocol),
        images=tuple(images),
        seconds=time.perf_counter() - start,
    )


def _predicted(predictor: Predictor, name: str, sample: Sample) -> ndarray:
    try:
        return predictor(sample.image)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def score_all(matrix: ConfusionMatrix, classes: Classes, protocol: Protocol) -> Scores:
    """Scores over all photos, by the rules of a protocol."""
    return scores(
        matrix,
        classes.names,
        absent_rule=protocol.absent_classes,
        background_index=classes.background_index,
    )


def score_image(name: str, of_image: Scores) -> ImageScore:
    """Sum up the scores of one photo; a class that is not in its truth has no part in the mean."""
    return ImageScore(
        name=name,
        miou=mean_of_defined([each.iou for each in of_image.counted if each.pixels]),
        pixel_accuracy=of_image.pixel_accuracy,
    )


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
        f"{difference}; edit classes.yaml of the data, or pass one with --classes, so that names "
        "and order are the model's"
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _read_ahead(items: Sequence[Item], classes: Classes) -> Iterator[tuple[Item, Sample]]:
    """Read in a second thread, one photo ahead: decoding frees the interpreter, and so overlaps."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(read_sample, items[0], classes)
        for index, item in enumerate(items):
            sample = following.result()
            if index + 1 < len(items):
                following = reader.submit(read_sample, items[index + 1], classes)
            yield item, sample
