"""Reading a data set before training, which stops at what `segmenter check` calls an error."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from segmenter.data.decoding.set_bands import (
    Quantiles,
    constant_bands,
    find_image_spec,
    range_lines,
    with_measured_range,
)
from segmenter.data.decoding.set_depth import describe_bits, set_bits
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.inspection import gather_sizes
from segmenter.data.masks.missing_classes import ask_for_classes
from segmenter.data.masks.problems import Problem, Severity
from segmenter.data.masks.region_widths import SizeFacts
from segmenter.data.pairing.items import Item
from segmenter.data.published.open_data import open_data, split_name
from segmenter.data.training_split import training_items
from segmenter.errors import UserError
from segmenter.extras.checking.data_problems import deep_images, find_problems, independent_splits
from segmenter.extras.checking.findings import group, one_line
from segmenter.extras.checking.item_inspection import Inspection, inspect
from segmenter.extras.checking.split_facts import missing_classes
from segmenter.recipe import Recipe
from segmenter.training.log.lines import Log
from segmenter.training.prepare import Survey

_ONE_SCORED = (
    "warning: one image is evaluated on, which says little of the model, and chooses the best one "
    "by chance; {}"
)


@dataclass(frozen=True)
class TrainingData:
    """Survey of the items of a run."""

    pixel_counts: Int64[ndarray, "items classes"]
    """Pixels of each class in each item to train on; ignored pixels are not counted."""
    problems: tuple[Problem, ...]
    """Problems that do not stop training."""
    deep_images: dict[Path, int]
    """Images with more than 8 bits a sample, and the bits that each needs; see `set_depth`."""
    sizes: SizeFacts
    """Sizes of the images to train on, and of the regions in their masks."""
    quantiles: tuple[Quantiles, ...] = ()
    """Quantiles of the values of each image to train on, if they are not RGB of 8 bits."""


def survey_data(recipe: Recipe, log: Log) -> Survey:
    """Read the data set of a run: every image and mask once.

    Args:
        recipe: The run.
        log: Shows warnings, and how images of more than 8 bits are read.

    Raises:
        UserError: If it has no classes yet, after a draft of them was printed; or if something in
            it is wrong.
    """
    root, pairs = recipe.data.root, recipe.data.pairs
    if split_name(root) is None:
        ask_for_classes(Path(root), pairs)
    data = open_data(root, pairs=pairs)
    if data.pairing_note:
        log(data.pairing_note)
    train, val = training_items(recipe, data)
    given = data.classes.image
    image = find_image_spec([item.image for item in train], recipe.data.bands, given)
    data = replace(data, classes=data.classes.with_image(image))
    found = read_training_data(
        data, train, val, workers=recipe.workers, max_unreadable=recipe.data.max_unreadable
    )
    teacher = recipe.loss.teacher
    if not found.pixel_counts.any() and (teacher is None or teacher.is_average):
        raise UserError(
            f"{root}: every pixel of the images to train on is ignored, so nothing can be learned; "
            "label them, or look at `ignore` in classes.yaml"
        )
    absent = missing_classes(found.pixel_counts.sum(axis=0), data.classes, "the training images")
    constant = constant_bands(image, found.quantiles) if image else []
    if image is not None:
        image = image if image == given else with_measured_range(image, found.quantiles)
        for line in range_lines(image):
            log(line)
    for finding in group((*found.problems, *absent, *constant)):
        if finding.severity is not Severity.NOTE or finding.kind == "dropped-band":
            log(f"{finding.severity}: {one_line(finding)}")
    if len(val) == 1:
        log(_ONE_SCORED.format(_way_to_more(recipe, data)))
    if depth := describe_bits(found.deep_images, data.classes.image_bits):
        log(depth)
    bits = set_bits(found.deep_images, data.classes.image_bits)
    classes = data.classes.model_copy(update={"image_bits": bits, "image": image})
    split_sizes = {name: len(items) for name, items in data.splits.items()}
    return Survey(recipe, classes, train, val, found.pixel_counts, found.sizes, split_sizes)


def _way_to_more(recipe: Recipe, data: LabelledFolder) -> str:
    """Say how more images are evaluated on."""
    if recipe.data.val in data.splits:
        return f"add images to the split {recipe.data.val!r}"
    return "label more images, or hold out more with --data.hold_out, such as 0.3"


def read_training_data(
    data: LabelledFolder,
    train: Sequence[Item],
    val: Sequence[Item],
    *,
    workers: int = 0,
    max_unreadable: float | None = 0.0,
) -> TrainingData:
    """Read every image and every mask once, and refuse what `segmenter check` calls an error.

    Of a published data set only the splits in use are read; of a folder, all are.

    Args:
        data: The data set.
        train: Its items to train on.
        val: Its items to score on.
        workers: Threads that read, at least one; decoding runs beside Python's lock.
        max_unreadable: Share of the images to train on that may be unreadable; None: no option says
            so, and none may be.

    Raises:
        UserError: If there is an error: how many of its kind, and the first of them.
    """
    splits, _ = independent_splits(data)
    wanted = {*train, *val}
    if data.is_published:
        splits = {name: items for name, items in splits.items() if wanted & set(items)}
    items = list(
        dict.fromkeys([*train, *val, *(each for part in splits.values() for each in part)])
    )
    with ThreadPoolExecutor(max(workers, 1)) as executor:
        inspections = executor.map(lambda item: inspect(item, data.classes, quickly=True), items)
        found = dict(zip(items, inspections, strict=True))
    problems = find_problems(data, splits, found)
    problems += [_without_mask(item) for item in wanted if item.mask is None]
    spared = set() if max_unreadable is None else _spared(train, found, max_unreadable)
    problems = [problem for problem in problems if problem not in spared]
    _refuse_errors(problems, items, found)
    none = np.zeros(len(data.classes), dtype=np.int64)
    counts = [mask.pixel_counts if (mask := found[item].mask) else none for item in train]
    table = np.array(counts, dtype=np.int64).reshape(len(train), len(data.classes))
    sizes = gather_sizes((found[item].mask for item in train), len(data.classes))
    quantiles = tuple(each for item in train if (each := found[item].quantiles) is not None)
    deep = deep_images([*train, *val], found)
    return TrainingData(table, tuple(problems), deep, sizes, quantiles)


def _spared(
    train: Sequence[Item], found: dict[Item, Inspection], max_unreadable: float
) -> set[Problem]:
    """Return images to train on that cannot be read, if so few that others may take their place.

    Raises:
        UserError: If there are more.
    """
    spared = {
        problem
        for item in train
        for problem in found[item].problems
        if problem.kind == "unreadable-photo" and found[item].has_header
    }
    if len(spared) > max_unreadable * len(train):
        first = min(spared, key=lambda problem: problem.paths)
        raise UserError(
            f"{len(spared)} images cannot be read, more than data.max_unreadable allows; the "
            f"first: {first.message}; repair or remove them"
        )
    return spared


def _refuse_errors(
    problems: Sequence[Problem], items: Sequence[Item], found: dict[Item, Inspection]
) -> None:
    errors = [each for each in group(problems) if each.severity is Severity.ERROR]
    if not errors:
        return
    of_items = {problem for item in items for problem in found[item].problems}
    bad = [problem for each in errors for problem in each.problems if problem in of_items]
    if bad:
        order = {problem: place for place, problem in enumerate(problems)}
        first = min(bad, key=lambda problem: order[problem])
        num_bad = len({problem.paths for problem in bad})
        raise UserError(
            f"{num_bad} of {len(items)} labelled images cannot be used; the first: {first.message}"
        )
    raise UserError(f"{one_line(errors[0])}; {errors[0].advice}")


def _without_mask(item: Item) -> Problem:
    message = f"{item.image} has no mask; without one it can only be predicted"
    return Problem("photo-without-mask", message, (item.image,))
