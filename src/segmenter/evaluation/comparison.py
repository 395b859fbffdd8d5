"""Two models on the same images: by how much they differ, and whether that is more than chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segmenter.evaluation.bootstrap import LEVEL, MEANS, Intervals
from segmenter.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class ImageDifference:
    """Scores of two models on one image."""

    index: int
    """Among the images."""
    name: str
    a: float
    """mIoU of the first model in this image."""
    b: float

    @property
    def difference(self) -> float:
        """Difference of the scores; above 0, the second is better."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Comparison of two models, A and B, on the same images; differences are B minus A."""

    a: Evaluation
    b: Evaluation

    @cached_property
    def intervals(self) -> Intervals | None:
        """Intervals of the differences, by the paired bootstrap; None for fewer than two images."""
        return self.b.counts.intervals_over(self.a.counts)

    @property
    def means(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the scores of A and B in each of `bootstrap.MEANS`."""
        return {name: (self.a.means[name], self.b.means[name]) for name in MEANS}

    @property
    def verdict(self) -> str:
        """Describe the interval of the mIoU's difference in a sentence."""
        interval = self.intervals and self.intervals.means["miou"]
        if interval is None:
            return "too few images to tell the models apart"
        level = f"{100 * LEVEL:g} % interval of the difference in mIoU"
        if interval.low > 0:
            return f"B is better: the {level} lies above 0"
        if interval.high < 0:
            return f"A is better: the {level} lies below 0"
        return f"not told apart: the {level} holds 0"

    @cached_property
    def images(self) -> tuple[ImageDifference, ...]:
        """Images by how much the models differ in them, the most first; unlabelled ones are out."""
        found = [
            ImageDifference(index, one.name, one.miou, two.miou)
            for index, (one, two) in enumerate(zip(self.a.images, self.b.images, strict=True))
            if one.miou is not None and two.miou is not None
        ]
        return tuple(sorted(found, key=lambda image: -abs(image.difference)))

    @property
    def wins(self) -> dict[str, int]:
        """Number of images on which B has a higher mIoU than A, the same, and a lower one."""
        differences = [image.difference for image in self.images]
        return {
            "wins": sum(each > 0 for each in differences),
            "ties": sum(each == 0 for each in differences),
            "losses": sum(each < 0 for each in differences),
        }

    def to_json(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return all of it as plain values, after what it holds for; its keys go first."""
        names = [each.name for each in self.a.scores.classes]
        pairs = zip(self.a.scores.classes, self.b.scores.classes, strict=True)
        return {
            **context,
            "verdict": self.verdict,
            **{name: _pair(a, b) for name, (a, b) in self.means.items()},
            "classes": {a.name: _pair(a.iou, b.iou) for a, b in pairs},
            "intervals": self.intervals and self.intervals.to_json(names),
            "photos": self.wins,
            "num_images": len(self.a.images),
            "images": [{"name": each.name, **_pair(each.a, each.b)} for each in self.images],
        }


def difference(a: float | None, b: float | None) -> float | None:
    """Return B less A; None where one of them is."""
    return None if a is None or b is None else b - a


def _pair(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "difference": difference(a, b)}
