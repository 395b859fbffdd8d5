"""Notes on the pairing of images and masks: patterns, counts, and what is not clear."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmenter.data.pairing.items import Item
from segmenter.data.pairing.layouts import Place
from segmenter.data.pairing.name_rules import SAME_NAME, FittingRule, NameRule

_PLAIN = ("images", "masks")


@dataclass(frozen=True)
class PlacePairs:
    """The pairs in two folders, and the rule that found them."""

    place: Place
    items: dict[str, Item]
    num_images: int
    rule: NameRule | None
    """None: masks are named `NAME.jpg.png`."""
    patterns: tuple[str, str]
    """Patterns of images and masks."""

    @property
    def is_plain(self) -> bool:
        """True if images and masks have one name, in `images` and `masks`."""
        folders = (self.place.images, self.place.masks)
        parts = [set(folder.name.replace("_", "-").split("-")) for folder in folders]
        return self.rule == SAME_NAME and all(
            plain in words for plain, words in zip(_PLAIN, parts, strict=True)
        )


def describe_pairing(paired: Sequence[PlacePairs]) -> str:
    """Say in one line what was paired, by which rule; nothing where all is plain."""
    if all(each.is_plain for each in paired):
        return ""
    counts: dict[tuple[str, str], list[int]] = {}
    for each in paired:
        count = counts.setdefault(each.patterns, [0, 0])
        count[0] += len(each.items)
        count[1] += each.num_images
    parts = [
        f"{num_pairs} of {num_images} images with masks: {image} with {mask}"
        for (image, mask), (num_pairs, num_images) in counts.items()
    ]
    return f"paired {'; '.join(parts)}"


def place_patterns(
    root: Path, place: Place, rule: NameRule | None, items: Mapping[str, Item]
) -> tuple[str, str]:
    """Return the patterns of images and masks, as `--images` and `--masks` take them."""
    images = [item.image for item in items.values()]
    masks = [item.mask for item in items.values() if item.mask is not None]
    image_suffix, mask_suffix = _suffix(images), _suffix(masks)
    constants = rule or NameRule(mask=("", image_suffix))
    is_nested = bool(items) and all(name.count("/") == 1 for name in items)
    inner = "{split}/" if is_nested and (constants.image[0] or constants.mask[0]) else ""
    return (
        _pattern(root, place.images, place.split, inner, constants.image, image_suffix),
        _pattern(root, place.masks, place.split, inner, constants.mask, mask_suffix),
    )


def ambiguity(
    root: Path,
    place: Place,
    rules: Sequence[FittingRule],
    images: Collection[Path],
    masks: Mapping[str, list[Path]],
) -> str:
    """Say that an image has masks by two rules, and how to tell which is meant."""
    first, second = rules[:2]
    name = next(
        (
            each
            for each in first.pairs
            if second.pairs.get(each, first.pairs[each]) != first.pairs[each]
        ),
        next(iter(first.pairs)),
    )
    one = masks[first.pairs[name]][0]
    other = masks[second.pairs.get(name) or next(iter(second.pairs.values()))][0]
    items = {name: Item(name, next(iter(images)), one)}
    image, mask = place_patterns(root, place, first.rule, items)
    return (
        f"{place.images / name} may have the mask {one} or {other}; say which, such as "
        f"--images '{image}' --masks '{mask}'"
    )


def _pattern(
    root: Path, folder: Path, split: str, inner: str, constants: tuple[str, str], suffix: str
) -> str:
    inside = folder.relative_to(root).as_posix()
    if split:  # as a word: `a` is not the split in the folder `data`
        word = re.search(rf"(?<![^/_ -]){re.escape(split)}(?![^/_ -])", inside)
        start = word.start() if word else max(inside.find(split), 0)
        inside = inside[:start] + inside[start:].replace(split, "{split}", 1)
    prefix = "" if inside == "." else f"{inside}/"
    return f"{prefix}{inner}{constants[0]}{{}}{constants[1]}{suffix}"


def _suffix(paths: Collection[Path]) -> str:
    """Return the suffix of all paths, or `.*` where there are several."""
    counts = Counter(path.suffix for path in paths)
    return next(iter(counts)) if len(counts) == 1 else ".*"
