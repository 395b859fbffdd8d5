"""Score label maps against the ground truth: one confusion matrix, and the scores in it.

All scores are ratios of whole pixel counts over the entire data set, in [0, 1]; a score that would
be 0 / 0 is `None`, never NaN.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

from segmenter.model.protocol import AbsentRule

ABSENT_IOU: dict[AbsentRule, float | None] = {"skip": None, "one": 1.0, "zero": 0.0}
ABSENT_DICE: dict[AbsentRule, float | None] = {"skip": None, "one": 0.0, "zero": 0.0}


class ConfusionMatrix:
    """Confusion matrix: pixels of each true class, by predicted class, summed over images.

    Args:
        num_classes: Classes to tell apart, not counting the ignore label.
        ignore_index: Pixels whose true label is this are not counted, whatever is predicted there.

    Raises:
        ValueError: Without a class, or if `ignore_index` is one: its pixels would hide mistakes.
    """

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be 1 or more, got {num_classes}")
        if 0 <= ignore_index < num_classes:
            raise ValueError(
                f"ignore_index must not be a class (0 to {num_classes - 1}), got {ignore_index}"
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts: Int64[ndarray, "classes classes"] = np.zeros(
            (num_classes, num_classes), dtype=np.int64
        )
        """Pixels; a row for each true class, a column for each predicted one."""

    def add(
        self, labels_true: Integer[ndarray, "..."], labels_predicted: Integer[ndarray, "..."]
    ) -> None:
        """Count the pixels of one image, or of several of one size.

        Raises:
            ValueError: If the two differ in shape, or hold something else than classes.
        """
        if labels_true.shape != labels_predicted.shape:
            raise ValueError(
                "truth and prediction must have one shape, "
                f"got {labels_true.shape} and {labels_predicted.shape}"
            )
        is_counted = labels_true != self.ignore_index
        counted = labels_true[is_counted].astype(np.int64)
        _check_range("true", counted, self.num_classes)
        _check_range("predicted", labels_predicted, self.num_classes)
        pairs = counted * self.num_classes + labels_predicted[is_counted]
        self.counts += np.bincount(pairs, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of other images.

        Raises:
            ValueError: If the other matrix has other classes.
        """
        if (self.num_classes, self.ignore_index) != (other.num_classes, other.ignore_index):
            raise ValueError(
                f"matrices of {self.num_classes} and {other.num_classes} classes, ignoring "
                f"{self.ignore_index} and {other.ignore_index}, cannot be merged"
            )
        self.counts += other.counts


@dataclass(frozen=True, kw_only=True)
class OverlapScores:
    """Scores of one class; a score is `None` where it would be 0 / 0."""

    iou: float | None
    """Intersection over union of its true and its predicted pixels."""
    dice: float | None
    """Twice the intersection over the sum of both, also called F1."""
    precision: float | None
    """Share of the pixels predicted as this class that are."""
    recall: float | None
    """Share of the pixels of this class that are predicted as it; papers print it as accuracy."""


@dataclass(frozen=True, kw_only=True)
class ClassScores(OverlapScores):
    """Scores of one class of a data set, and how often it occurs."""

    name: str
    pixels: int
    """Its pixels in the truth."""
    pixels_predicted: int
    """Its pixels in the prediction, where the truth is not ignored."""
    share: float | None
    """Share of all counted pixels that are of this class."""
    share_predicted: float | None
    """Share of all counted pixels that are predicted as this class."""

    @property
    def accuracy(self) -> float | None:
        """Return the recall; `mean_accuracy` is its mean."""
        return self.recall

    def to_json(self) -> dict[str, float | int | None]:
        """Return all scores but the name, by their own names."""
        found = asdict(self) | {"accuracy": self.accuracy}
        del found["name"]
        return found


@dataclass(frozen=True)
class Scores:
    """Scores of a confusion matrix, as in papers but in [0, 1]."""

    miou: float | None
    """Mean IoU over classes; those in `absent` count as the rule says, `predicted_only` as 0."""
    mean_accuracy: float | None
    """Mean recall over the classes that occur in the truth."""
    pixel_accuracy: float | None
    """Share of the counted pixels that are predicted right."""
    mean_dice: float | None
    """Mean Dice over classes; those in `absent` are left out, or count 0 where their IoU counts."""
    kappa: float | None
    """Cohen's kappa: 0 as good as chance, 1 perfect, below 0 worse than chance."""
    classes: tuple[ClassScores, ...]
    """Scores of each class, and of a background, in the order of the class indices."""
    background: str | None = None
    """Name of what is not a class: it counts in pixel accuracy and kappa, but in no mean."""

    @property
    def counted(self) -> tuple[ClassScores, ...]:
        """The classes that means are over."""
        return tuple(each for each in self.classes if each.name != self.background)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes in neither truth nor prediction: nothing is known about them."""
        return tuple(
            each.name for each in self.counted if not each.pixels and not each.pixels_predicted
        )

    @property
    def absent_iou(self) -> float | None:
        """The IoU that the protocol gives absent classes; None where they are left out."""
        return next((each.iou for each in self.counted if each.name in self.absent), None)

    @property
    def predicted_only(self) -> tuple[str, ...]:
        """Classes that were predicted but never occur in the truth."""
        return tuple(
            each.name for each in self.counted if not each.pixels and each.pixels_predicted
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values, classes by name."""
        return {
            "miou": self.miou,
            "mean_accuracy": self.mean_accuracy,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_dice": self.mean_dice,
            "kappa": self.kappa,
            "classes": {each.name: each.to_json() for each in self.classes},
            "absent": list(self.absent),
            "predicted_only": list(self.predicted_only),
            "background": self.background,
        }


def scores(
    matrix: ConfusionMatrix,
    names: Sequence[str],
    *,
    absent_rule: AbsentRule = "skip",
    background_index: int | None = None,
) -> Scores:
    """Compute all scores.

    Args:
        matrix: Counts over a whole data set; for the scores of one image, over that image.
        names: Class names, in the order of their indices.
        absent_rule: What a class counts that is in neither truth nor prediction.
        background_index: What is not a class, and so in no mean; None: all are classes.

    Raises:
        ValueError: If there are more or fewer names than classes.
    """
    if len(names) != matrix.num_classes:
        raise ValueError(f"the matrix has {matrix.num_classes} classes, got {len(names)} names")
    total = int(matrix.counts.sum())
    in_truth = matrix.counts.sum(axis=1).tolist()
    in_prediction = matrix.counts.sum(axis=0).tolist()
    right = matrix.counts.diagonal().tolist()
    classes = tuple(
        ClassScores(
            name=name,
            **overlap_scores(both, true, predicted, absent_rule),
            pixels=true,
            pixels_predicted=predicted,
            share=_ratio(true, total),
            share_predicted=_ratio(predicted, total),
        )
        for name, true, predicted, both in zip(names, in_truth, in_prediction, right, strict=True)
    )
    # Products of counts outgrow int64 on large sets; Python's own integers do not.
    by_chance = sum(
        true * predicted for true, predicted in zip(in_truth, in_prediction, strict=True)
    )
    counted = [each for index, each in enumerate(classes) if index != background_index]
    return Scores(
        miou=mean_of_defined([each.iou for each in counted]),
        mean_accuracy=mean_of_defined([each.recall for each in counted]),
        pixel_accuracy=_ratio(sum(right), total),
        mean_dice=mean_of_defined([each.dice for each in counted]),
        kappa=_ratio(sum(right) * total - by_chance, total * total - by_chance),
        classes=classes,
        background=None if background_index is None else names[background_index],
    )


def overlap_scores(
    both: int, true: int, predicted: int, absent_rule: AbsentRule = "skip"
) -> dict[str, float | None]:
    """Compute the fields of `OverlapScores`.

    Args:
        both: Pixels that are of the class, and are predicted as it.
        true: Pixels that are of the class.
        predicted: Pixels that are predicted as it.
        absent_rule: What a class counts that is in neither truth nor prediction.
    """
    return {
        "iou": _ratio(both, true + predicted - both, undefined=ABSENT_IOU[absent_rule]),
        "dice": _ratio(2 * both, true + predicted, undefined=ABSENT_DICE[absent_rule]),
        "precision": _ratio(both, predicted),
        "recall": _ratio(both, true),
    }


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are not None, or None if there are none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _check_range(which: str, labels: Integer[ndarray, "..."], num_classes: int) -> None:
    if not labels.size:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise ValueError(f"{which} labels must be classes, 0 to {num_classes - 1}, got {wrong}")


def _ratio(part: int, whole: int, undefined: float | None = None) -> float | None:
    return part / whole if whole else undefined
