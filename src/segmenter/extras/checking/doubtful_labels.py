"""Search a data set for labels that are probably wrong, by the predictions of a model.

Images are read one at a time, and the regions of the whole data set are kept in a heap of a fixed
size, so memory does not grow with regions.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import read_sample
from segmenter.data.pairing.items import Item
from segmenter.data.prefetch import prefetch
from segmenter.data.sample import Sample
from segmenter.errors import UserError
from segmenter.extras.checking.doubtful_regions import (
    Box,
    DoubtfulRegion,
    compare_labels,
    find_regions,
    self_confidence,
)
from segmenter.extras.checking.label_reference import LabelReference
from segmenter.extras.checking.mask_shift import Shift, find_shift
from segmenter.inference.predictor import Predictor
from segmenter.text import counted, percent

NUM_KEPT = 200
"""Regions of a data set that are kept, and images."""
_NUM_CALIBRATED = 50
"""Images, evenly spaced, that the thresholds of the classes are measured on."""
_UNKNOWN_THRESHOLD = 0.5
"""Threshold of a class that no image holds."""
_MIN_IMAGES = 8
"""With fewer, there is nothing to compare an image's agreement with."""
_NUM_DEVIATIONS = 5.0
_MIN_DROP = 0.15
"""Agreement that an image must lack against the median, 0 to 1."""
_MIN_GAIN = 0.01
"""Agreement that moving a mask must gain more than it typically does."""


@dataclass(frozen=True)
class Doubt:
    """A doubtful region and where it is."""

    item: Item
    split: str
    region: DoubtfulRegion


@dataclass(frozen=True)
class DoubtfulImage:
    """An image whose whole mask is doubtful."""

    item: Item
    split: str
    agreement: float
    """Share of its labelled pixels that the model labels alike, 0 to 1."""
    shift: tuple[int, int] | None
    """Pixels to the right and down by which its mask seems to be moved; None: no shift fits."""
    reason: str


@dataclass(frozen=True)
class Doubts:
    """Labels of a data set that are probably wrong, the most doubtful first."""

    model: str
    """Name of what labels are compared with."""
    classes: Classes
    thresholds: Float[ndarray, " classes"]
    num_images: int
    """Images that were compared."""
    num_skipped: int
    """Images whose files cannot be used; the findings of the check name them."""
    regions: tuple[Doubt, ...]
    images: tuple[DoubtfulImage, ...]
    image_folder: Path | None = None
    """Folder of images that `segmenter label` opens; None if the data set has none."""

    @property
    def summary(self) -> str:
        """Return how many images and regions are doubtful, in one line."""
        skipped = f"; {self.num_skipped} cannot be used" if self.num_skipped else ""
        return (
            f"doubtful labels by {self.model}, of {counted(self.num_images, 'image')}{skipped}: "
            f"{counted(len(self.images), 'whole image')}, {counted(len(self.regions), 'region')}"
        )

    def link(self, item: Item, box: Box | None = None) -> str | None:
        """Return what follows the address of `segmenter label` to open an image there.

        Args:
            item: The image.
            box: Part of it to zoom to: left, top, width, height.
        """
        if self.image_folder is None or not item.image.is_relative_to(self.image_folder):
            return None
        name = item.image.relative_to(self.image_folder).with_suffix("").as_posix()
        query = "" if box is None else f"?box={','.join(map(str, box))}"
        return f"/{query}#{quote(name)}"

    def to_json(self) -> dict[str, Any]:
        """Return everything, with names of classes; boxes are left, top, width, height."""
        names = self.classes.names
        return {
            "model": self.model,
            "compared": self.num_images,
            "skipped": self.num_skipped,
            "thresholds": dict(zip(names, np.round(self.thresholds, 4).tolist(), strict=True)),
            "regions": [
                {
                    **self._where(each),
                    "box": list(each.region.box),
                    "label": names[each.region.label],
                    "predicted": names[each.region.predicted],
                    "area": each.region.area,
                    "score": round(each.region.score, 2),
                }
                for each in self.regions
            ],
            "images": [
                {
                    **self._where(each),
                    "agreement": round(each.agreement, 4),
                    "shift": each.shift and list(each.shift),
                    "reason": each.reason,
                }
                for each in self.images
            ],
        }

    def _where(self, each: Doubt | DoubtfulImage) -> dict[str, str | None]:
        item = each.item
        return {
            "image": item.name,
            "split": each.split,
            "file": str(item.image),
            "mask": str(item.mask),
            "link": self.link(item, each.region.box if isinstance(each, Doubt) else None),
        }


class _Agreement(NamedTuple):
    item: Item
    split: str
    share: float
    shift: Shift


def check_model_classes(predictor: Predictor, classes: Classes, model: str, data: str) -> None:
    """Refuse a model whose classes are not those of the data set, in its order.

    Raises:
        UserError: If they differ.
    """
    of_model, of_data = predictor.classes.names, classes.names
    if tuple(of_model) != tuple(of_data):
        raise UserError(
            f"the classes of {model} are {_listed(of_model)}, and those of {data} "
            f"{_listed(of_data)}; give a --model with the classes of the data, in their order"
        )


def find_doubts(
    reference: LabelReference,
    splits: Mapping[str, Sequence[Item]],
    classes: Classes,
    on_image: Callable[[], object] = lambda: None,
) -> Doubts:
    """Compare each mask with a reference, and rank where they differ.

    Args:
        reference: A model, or fits to the data; its classes are those of the data.
        splits: The items; those without a mask are left out.
        classes: Classes of the data.
        on_image: Called `num_steps` times, to show progress.

    Raises:
        UserError: If no image can be read with its mask, or the model takes none.
    """
    classes = reference.reading(classes)
    items = with_masks(splits)
    thresholds = _measure_thresholds(reference, list(items), classes, on_image)
    heap: list[tuple[float, int, Doubt]] = []
    agreements: list[_Agreement] = []
    failures: list[UserError] = []
    order = 0
    for item, sample in _samples(list(items), classes):
        on_image()
        if isinstance(sample, UserError):
            failures.append(sample)
            continue
        labels = sample.labels
        compared = compare_labels(reference.rows(item, sample.image), labels, thresholds)
        for region in find_regions(labels, compared):
            order += 1
            _keep(heap, (region.score, -order, Doubt(item, items[item], region)))
        is_labelled = labels < len(classes)
        if is_labelled.any():
            share = float((compared.predicted == labels)[is_labelled].mean())
            shift = find_shift(labels, compared.predicted, len(classes))
            agreements.append(_Agreement(item, items[item], share, shift))
    num_compared = len(items) - len(failures)
    if not num_compared:
        raise failures[0] if failures else UserError("no image has a mask to compare")
    regions = tuple(doubt for _, _, doubt in sorted(heap, key=lambda each: each[:2], reverse=True))
    images = _doubtful_images(agreements)
    return Doubts(reference.name, classes, thresholds, num_compared, len(failures), regions, images)


def with_masks(splits: Mapping[str, Sequence[Item]]) -> dict[Item, str]:
    """Return the items with a mask, each once, and the split of each."""
    items: dict[Item, str] = {}
    for split, members in splits.items():
        for item in members:
            if item.mask is not None:
                items.setdefault(item, split)
    return items


def num_steps(num_items: int) -> int:
    """Return how many images `find_doubts` runs the model on; some are seen twice."""
    return num_items + len(_spread(num_items))


def _spread(num_items: int) -> range:
    return range(0, num_items, max(-(-num_items // _NUM_CALIBRATED), 1))


def _measure_thresholds(
    reference: LabelReference,
    items: Sequence[Item],
    classes: Classes,
    on_image: Callable[[], object],
) -> Float[ndarray, " classes"]:
    """Return the mean probability that the reference gives each class where it is the label."""
    sums, counts = np.zeros(len(classes)), np.zeros(len(classes))
    for item, sample in _samples([items[place] for place in _spread(len(items))], classes):
        on_image()
        if isinstance(sample, Sample):
            rows = reference.rows(item, sample.image)
            of_image = self_confidence(rows, sample.labels, len(classes))
            sums, counts = sums + of_image[0], counts + of_image[1]
    return np.where(counts > 0, sums / np.maximum(counts, 1), _UNKNOWN_THRESHOLD)


def _samples(items: Sequence[Item], classes: Classes) -> Iterator[tuple[Item, Sample | UserError]]:
    """Read items, one ahead; what cannot be read is a problem that the check lists already."""

    def read(item: Item) -> tuple[Item, Sample | UserError]:
        try:
            return item, read_sample(item, classes)
        except UserError as error:
            return item, error

    return prefetch(read, items, 1)


def _keep(heap: list[tuple[float, int, Doubt]], entry: tuple[float, int, Doubt]) -> None:
    """Add a region to a heap of bounded size; the least doubtful one leaves it."""
    if len(heap) < NUM_KEPT:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _doubtful_images(agreements: Sequence[_Agreement]) -> tuple[DoubtfulImage, ...]:
    """Return the images that agree with the model far less than others, the least first."""
    if len(agreements) < _MIN_IMAGES:
        return ()
    shares = np.array([each.share for each in agreements])
    gains = np.array([each.shift.gain for each in agreements])
    typical = float(np.median(shares))
    lowest = typical - max(_MIN_DROP, _NUM_DEVIATIONS * _deviation(shares))
    most = float(np.median(gains)) + max(_MIN_GAIN, _NUM_DEVIATIONS * _deviation(gains))
    found = []
    for each in agreements:
        # A mask of another image fits no better than by chance wherever it is moved.
        is_moved = each.shift.gain > most and each.share + each.shift.gain >= lowest
        shift = each.shift if is_moved else None
        if shift is None and each.share >= lowest:
            continue
        agrees = (
            f"{percent(each.share, 0)} % of its pixels agree, typically {percent(typical, 0)} %"
        )
        if shift is None:
            reason = f"{agrees}; perhaps a mask of another image, or large parts of another class"
        else:
            gain = percent(shift.gain, 1)
            reason = (
                f"{_in_words(shift)} fits the model better, by {gain} % of the pixels; {agrees}"
            )
        moved = shift and (shift.right, shift.down)
        found.append(DoubtfulImage(each.item, each.split, each.share, moved, reason))
    return tuple(sorted(found, key=lambda image: (image.agreement, image.item.name))[:NUM_KEPT])


def _deviation(values: Float[ndarray, " images"]) -> float:
    """Return the standard deviation by the median absolute one, which outliers do not change."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _in_words(shift: Shift) -> str:
    """Say how to move a mask back."""
    across = f"{abs(shift.right)} pixels {'left' if shift.right > 0 else 'right'}"
    upright = f"{abs(shift.down)} pixels {'up' if shift.down > 0 else 'down'}"
    parts = [part for part, size in ((across, shift.right), (upright, shift.down)) if size]
    return f"the mask moved by {' and '.join(parts)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
