"""The labelled images of a data set, as a fit takes them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.classes import Classes, read_classes
from segmenter.data.decoding.set_bands import find_image_spec, range_lines, with_measured_range
from segmenter.data.decoding.set_depth import describe_bits, set_bits
from segmenter.data.folder import Item, LabelledFolder
from segmenter.data.masks.missing_classes import ask_for_classes
from segmenter.data.masks.problems import Severity
from segmenter.data.masks.region_widths import SizeFacts
from segmenter.data.pairing.lists import holds_split_word
from segmenter.data.published.open_data import open_data, split_name
from segmenter.errors import UserError
from segmenter.extras.checking.before_training import read_training_data
from segmenter.extras.checking.findings import group, one_line
from segmenter.options import FitData
from segmenter.text import counted

_WITHOUT_MASK = "photo-without-mask"
_UNLABELLED = {_WITHOUT_MASK, "unlabelled-split"}
"""Kinds of problems that images without labels have; they are not problems here."""
_COUNTED = "all-ignored"
"""Kind of problems that have a line of their own."""


@dataclass(frozen=True)
class LabelledImages:
    """Images with masks of which at least one pixel is labelled."""

    classes: Classes
    items: tuple[Item, ...]
    pixel_counts: Int64[ndarray, "items classes"]
    """Labelled pixels of each class in each image."""
    sizes: SizeFacts
    """Sizes of all images with masks, and of the regions in these."""


def read_labelled(data: str, which: FitData, log: Callable[[str], None]) -> LabelledImages:
    """Read every image with a mask and its labels once.

    Args:
        data: The data set, as the user wrote it.
        which: Which of its images.
        log: Shows how images were paired and read, and what was left out.

    Raises:
        UserError: If there are none, they cannot be used, or only one class is labelled.
    """
    given = None if which.classes is None else read_classes(which.classes)
    if split_name(data) is None and given is None:
        ask_for_classes(Path(data), which)
    folder = open_data(data, given, keep_problems=True, pairs=which)
    if folder.pairing_note:
        log(folder.pairing_note)
    items = _with_masks(folder, data, which.split, log)
    others = tuple(each for each in folder.problems if each.kind not in _UNLABELLED)
    used = replace(folder, splits={"fit": items}, problems=others)
    stated = folder.classes.image
    image = find_image_spec([item.image for item in items], which.bands, stated)
    used = replace(used, classes=folder.classes.with_image(image))
    found = read_training_data(used, items, (), workers=os.cpu_count() or 1, max_unreadable=None)
    for finding in group(each for each in found.problems if each.kind != _COUNTED):
        if finding.severity is Severity.WARNING:
            log(f"warning: {one_line(finding)}; {finding.advice}")
    if image is not None:
        image = image if image == stated else with_measured_range(image, found.quantiles)
        for line in range_lines(image):
            log(line)
    if depth := describe_bits(found.deep_images, folder.classes.image_bits):
        log(depth)
    bits = set_bits(found.deep_images, folder.classes.image_bits)
    classes = folder.classes.model_copy(update={"image_bits": bits, "image": image})
    _check_classes(classes, found.pixel_counts, data)
    is_kept = found.pixel_counts.sum(axis=1) > 0
    if not is_kept.all():
        log(f"images without a labelled pixel, left out: {int((~is_kept).sum()):,}")
    kept = tuple(items[place] for place in np.flatnonzero(is_kept))
    return LabelledImages(classes, kept, found.pixel_counts[is_kept], found.sizes)


def _with_masks(
    folder: LabelledFolder, data: str, split: str | None, log: Callable[[str], None]
) -> tuple[Item, ...]:
    """Return the items of a split that have a mask, and say how many images have none."""
    items = tuple(item for item in _split(folder, split) if item.mask is not None)
    if not items:
        raise UserError(
            f"{data} has no image with a mask; paint one with `segmenter label {data}`, or add "
            "masks/NAME.png"
        )
    if without := sum(each.kind == _WITHOUT_MASK for each in folder.problems):
        log(f"{counted(len(items), 'image')} with masks; {without:,} without are left out")
    return items


def _split(folder: LabelledFolder, name: str | None) -> Sequence[Item]:
    """Return the items of a split: of `train` by default, or all where no folder names a split."""
    if name is not None:
        return folder.items(name)
    splits = folder.splits
    if len(splits) == 1 or not any(map(holds_split_word, splits)):
        return tuple(dict.fromkeys(folder.items(*splits)))  # lists may share images
    try:
        return folder.items("train")
    except UserError as error:
        raise UserError(f"{error}; name one with --split") from None


def _check_classes(
    classes: Classes, pixel_counts: Int64[ndarray, "items classes"], data: str
) -> None:
    """Refuse labels that tell nothing apart."""
    present = np.flatnonzero(pixel_counts.sum(axis=0))
    if not len(present):
        raise UserError(f"no pixel of the masks of {data} is labelled; label some of each class")
    if len(present) == 1:
        raise UserError(
            f"all labels of {data} are of one class, {classes.names[present[0]]!r}, and two are "
            "needed to tell them apart; label some pixels of another class too"
        )
