"""List the problems of a data set whose items are read: the one place that does.

`segmenter check` shows it, and `segmenter train` refuses what is an error.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segmenter.data.decoding.set_depth import depth_problems
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.problems import Problem
from segmenter.data.pairing.items import Item
from segmenter.extras.checking.item_inspection import Inspection

Splits = Mapping[str, Sequence[Item]]


def independent_splits(
    data: LabelledFolder,
) -> tuple[dict[str, tuple[Item, ...]], list[Problem]]:
    """Splits, the training split first, without those that are made of others (`trainval`)."""
    images = {name: {item.image for item in items} for name, items in data.splits.items()}
    problems = []
    for name, mine in images.items():
        parts = [other for other, theirs in images.items() if theirs < mine]
        if len(parts) > 1 and set().union(*(images[part] for part in parts)) == mine:
            message = f"{name!r} is made of {', '.join(parts)}"
            problems.append((name, Problem("nested-split", message)))
    nested = {name for name, _ in problems}
    order = sorted(data.splits, key=lambda name: not name.startswith("train"))
    splits = {name: data.splits[name] for name in order if name not in nested}
    return splits, [problem for _, problem in problems]


def find_problems(
    data: LabelledFolder, splits: Splits, found: Mapping[Item, Inspection]
) -> list[Problem]:
    """Return all that is wrong with the pairs, the splits, and each image and mask.

    Args:
        data: Where the items are from.
        splits: Those that were read, as `independent_splits` gives them.
        found: What was learned of each of their items.
    """
    problems = list(data.problems)
    for name, members in splits.items():
        missing = [item for item in members if item.mask is None]
        if missing and len(missing) == len(members):
            message = f"{name!r} has {len(members)} images"
            problems.append(Problem("unlabelled-split", message))
            continue
        problems += [
            Problem("photo-without-mask", f"{item.image} has no mask in its list", (item.image,))
            for item in missing
        ]
    items = dict.fromkeys(item for members in splits.values() for item in members)
    problems += [problem for item in items for problem in found[item].problems]
    problems += depth_problems(deep_images(items, found), data.classes.image_bits)
    return problems + _equal_images(data, splits, found)


def deep_images(items: Iterable[Item], found: Mapping[Item, Inspection]) -> dict[Path, int]:
    """Return the images with more than 8 bits per sample, and the bits that each needs."""
    bits = {item.image: found[item].bits for item in items}
    return {image: each for image, each in bits.items() if each is not None}


def _equal_images(
    data: LabelledFolder, splits: Splits, found: Mapping[Item, Inspection]
) -> list[Problem]:
    """Return images of the same pixels, across splits and within one."""
    leak = "published-leak" if data.is_published else "leak"
    problems = []
    seen: dict[bytes, dict[str, Item]] = {}
    for split, members in splits.items():
        for item in members:
            digest = found[item].digest
            if digest is None:
                continue
            earlier = seen.setdefault(digest, {})
            for other_split, other in earlier.items():
                is_leak = other_split != split
                where = f"{other_split} and {split}" if is_leak else f"both in {split}"
                message = f"{other.image} and {item.image} have the same pixels ({where})"
                kind = leak if is_leak else "duplicate"
                problems.append(Problem(kind, message, (other.image, item.image)))
            earlier.setdefault(split, item)
    return problems
