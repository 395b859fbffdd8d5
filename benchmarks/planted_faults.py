"""How many planted label faults `check --model` finds, and how early in its list.

    python benchmarks/planted_faults.py data/camvid --model street --split test --json faults.json

Plants faults of five kinds, in turn, in 5 % of the masks of a split, searches the split, and counts
how many of the first 20 and 50 regions lie on a fault, and which share of the faults is found. A
region that lies on no planted fault counts as wrong, though some are real faults of the data set.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from results_file import save

from segmenter.classes import Classes
from segmenter.data.folder import open_folder, read_labels
from segmenter.data.pairing.items import Item
from segmenter.extras.checking.doubtful_labels import Doubt, Doubts, find_doubts
from segmenter.extras.checking.label_reference import ModelReference, fit_reference
from segmenter.inference import Predictor
from segmenter.options import DEFAULT_START
from segmenter.runtimes.devices import usable_device

IGNORED = 255
SHIFT = 8
EROSION = 4
LEAST_OBJECT = 200
"""Pixels of a region that a fault of one region changes, at least."""
MOST_OF_IMAGE = 0.2
"""Share of an image that such a region has at most: larger ones are no objects."""

Labels = UInt8[ndarray, "height width"]


def swap_class(labels: Labels, _other: Labels, rng: np.random.Generator) -> Labels:
    """Give a region the label of another class of the image."""
    region = _object(labels, rng)
    if region is None:
        return labels
    present = [value for value in np.unique(labels) if value not in (IGNORED, labels[region][0])]
    return np.where(region, rng.choice(present), labels) if present else labels


def remove_object(labels: Labels, _other: Labels, rng: np.random.Generator) -> Labels:
    """Give a region the class that is most common around it."""
    region = _object(labels, rng)
    if region is None:
        return labels
    around = cv2.dilate(region.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    values = labels[around & ~region & (labels != IGNORED)]
    return np.where(region, np.bincount(values).argmax(), labels) if len(values) else labels


def shift_mask(labels: Labels, _other: Labels, rng: np.random.Generator) -> Labels:
    """Move the mask by some pixels in one of four directions."""
    down, right = ((SHIFT, 0), (-SHIFT, 0), (0, SHIFT), (0, -SHIFT))[rng.integers(4)]
    rows = np.clip(np.arange(labels.shape[0]) - down, 0, labels.shape[0] - 1)
    columns = np.clip(np.arange(labels.shape[1]) - right, 0, labels.shape[1] - 1)
    return labels[rows[:, None], columns]


def take_other(labels: Labels, other: Labels, _rng: np.random.Generator) -> Labels:
    """Return the mask of another image."""
    return cv2.resize(other, labels.shape[::-1], interpolation=cv2.INTER_NEAREST)


def erode_borders(labels: Labels, _other: Labels, rng: np.random.Generator) -> Labels:
    """Shrink all regions of a class; the pixels at their borders get the nearest other class."""
    region = _object(labels, rng)
    if region is None:
        return labels
    is_class = (labels == labels[region][0]).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        is_class, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(nearest.max()) + 1, dtype=labels.dtype)
    table[nearest[is_class == 0]] = labels[is_class == 0]
    is_eroded = (is_class > 0) & (distance <= EROSION)
    return np.where(is_eroded, table[nearest], labels)


FAULTS: dict[str, Callable[[Labels, Labels, np.random.Generator], Labels]] = {
    "class swapped": swap_class,
    "object missing": remove_object,
    f"shifted by {SHIFT} pixels": shift_mask,
    "mask of another image": take_other,
    "eroded borders": erode_borders,
}


def _object(labels: Labels, rng: np.random.Generator) -> ndarray | None:
    """Return where a random region of middle size lies; None if there is none."""
    found = []
    for value in np.unique(labels[labels != IGNORED]):
        number, parts, stats, _ = cv2.connectedComponentsWithStats(
            (labels == value).astype(np.uint8)
        )
        for place in range(1, number):
            if LEAST_OBJECT <= stats[place, cv2.CC_STAT_AREA] <= MOST_OF_IMAGE * labels.size:
                found.append(parts == place)
    return found[rng.integers(len(found))] if found else None


def plant(
    items: Sequence[Item], classes: Classes, folder: Path, share: float, seed: int
) -> tuple[list[Item], dict[str, tuple[str, ndarray]]]:
    """Write masks with faults into a folder.

    Returns:
        Items with these masks, and the kind of the fault and the changed pixels by the names of
        their images.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(items))[: max(len(FAULTS), round(share * len(items)))]
    kinds = {int(place): list(FAULTS)[i % len(FAULTS)] for i, place in enumerate(chosen)}
    masked, changed = [], {}
    for place, item in enumerate(items):
        mask = _read(item, classes)
        if place in kinds:
            other = _read(items[(place + len(items) // 2) % len(items)], classes)
            wrong = FAULTS[kinds[place]](mask, other, rng).astype(np.uint8)
            if (wrong != mask).any():
                changed[item.name] = kinds[place], wrong != mask
            mask = wrong
        path = folder / f"{place}.png"
        Image.fromarray(mask).save(path)
        masked.append(Item(item.name, item.image, path))
    return masked, changed


def _read(item: Item, classes: Classes) -> Labels:
    labels = read_labels(item, classes)
    return np.where(labels == classes.ignore_index, IGNORED, labels).astype(np.uint8)


def measure(found: Doubts, changed: dict[str, tuple[str, ndarray]]) -> dict[str, Any]:
    """Count the regions that lie on a fault, and the faults that are found."""
    hits = [_is_hit(doubt, changed) for doubt in found.regions]
    whole = {image.item.name for image in found.images}
    by_kind = {}
    for kind in FAULTS:
        names = {name for name, (of_image, _) in changed.items() if of_image == kind}
        in_list = {doubt.item.name for doubt, hit in zip(found.regions, hits, strict=True) if hit}
        by_kind[kind] = {
            "planted": len(names),
            "found": len(names & (in_list | whole)),
            "found_as_region": len(names & in_list),
            "found_as_image": len(names & whole),
        }
    planted = sum(kind["planted"] for kind in by_kind.values())
    return {
        **{f"precision_at_{first}": sum(hits[:first]) / first for first in (20, 50)},
        "share_found": sum(kind["found"] for kind in by_kind.values()) / max(planted, 1),
        "image_precision": len(whole & set(changed)) / len(whole) if whole else None,
        "kinds": by_kind,
    }


def _is_hit(doubt: Doubt, changed: dict[str, tuple[str, ndarray]]) -> bool:
    """Return whether half of a region's pixels, or more, can be those of a fault."""
    if doubt.item.name not in changed:
        return False
    left, top, width, height = doubt.region.box
    inside = changed[doubt.item.name][1][top : top + height, left : left + width]
    return int(inside.sum()) >= doubt.region.area / 2


def main(arguments: Sequence[str]) -> None:
    """Plant, search, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", help="such as street; if omitted, fits to the other images")
    parser.add_argument("--split", default="test")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, help="images to search, evenly spaced")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    folder = open_folder(given.data)
    items = folder.items(given.split)
    items = items[:: max(len(items) // given.most, 1)][: given.most] if given.most else items
    infos = tuple(
        info.model_copy(update={"values": (index,)})
        for index, info in enumerate(folder.classes.by_index)
    )
    classes = Classes(classes=infos, ignore=(IGNORED,))
    with tempfile.TemporaryDirectory() as masks:
        masked, changed = plant(items, folder.classes, Path(masks), given.share, given.seed)
        begin = time.perf_counter()
        if given.model is None:
            place = usable_device()
            root = str(given.data)
            reference = fit_reference(masked, classes, root, DEFAULT_START, place, print)
        else:
            reference = ModelReference(Predictor(given.model), given.model)
        found = find_doubts(reference, {given.split: masked}, classes)
    result = {
        "data": str(given.data),
        "split": given.split,
        "model": given.model,
        "seed": given.seed,
        "images": len(items),
        "seconds": round(time.perf_counter() - begin, 1),
        **measure(found, changed),
    }
    print(json.dumps(result, indent=2))
    if given.json:
        save(given.json, result, "automatic")


if __name__ == "__main__":
    main(sys.argv[1:])
