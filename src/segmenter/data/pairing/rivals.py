"""Second folders and second masks: what could be meant as well is refused, and never ignored.

A data set with `masks` and `labels`, or an image with `a.png` and `a_mask.png`, says nothing about
which of the two to train on.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES, MASK_SUFFIXES
from segmenter.data.masks.problems import Problem
from segmenter.data.pairing.items import Item
from segmenter.data.pairing.layouts import IMAGE_FOLDERS, MASK_ENDINGS, MASK_FOLDERS, Place
from segmenter.data.pairing.name_rules import SAME_NAME, FittingRule, NameRule, find_rules
from segmenter.data.pairing.pairing_notes import place_patterns
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError


def refuse_rival_folders(root: Path, places: Sequence[Place]) -> None:
    """Refuse a data set in which another folder beside may be the one that is meant.

    Args:
        root: The data set.
        places: Its folders, as `find_places` gives them.

    Raises:
        UserError: If `labels` lies beside `masks`, or `photos` beside `images`, and holds images.
    """
    for place in places:
        for what, chosen, names, suffixes in (
            ("images", place.images, IMAGE_FOLDERS, IMAGE_SUFFIXES),
            ("masks", place.masks, MASK_FOLDERS, MASK_SUFFIXES),
        ):
            rival = _rival(chosen, place.split, names, suffixes)
            if rival is not None:
                image, mask = place_patterns(root, place, SAME_NAME, {})
                raise UserError(
                    f"{chosen} and {rival} may both be the folder of {what}; move one out of the "
                    f"data set, or say which, such as --images '{image}' --masks '{mask}'"
                )


def several_masks(masks: Sequence[Path], patterns: tuple[str, str]) -> Problem:
    """Describe an image that has several masks.

    Args:
        masks: Its masks.
        patterns: Patterns of the images and of the first of the masks, as the two flags take them.
    """
    image, mask = patterns
    message = (
        f"{masks[0]} and {masks[1]} are masks of one image; remove one, or say which, such as "
        f"--images '{image}' --masks '{mask}'"
    )
    return Problem("several-masks", message, tuple(masks))


def second_masks(
    left_over: Collection[str], items: Mapping[str, Item], files: Collection[str]
) -> Iterator[tuple[str, Item]]:
    """Yield masks that no image took, and the item that they are a second mask of.

    Args:
        left_over: Names of masks, without suffix.
        items: By their names, each with the mask that was found first.
        files: Names of the images, with suffix.
    """
    of_files = {file: file.rpartition(".")[0] for file in files}
    for name in sorted(left_over):
        stems = (name.removesuffix(ending) for ending in MASK_ENDINGS if name.endswith(ending))
        item = next((items[stem] for stem in stems if stem in items), None)
        item = item or items.get(of_files.get(name, ""))
        if item is not None:
            yield name, item


def rival_rule(left_over: Collection[str], items: Mapping[str, Item]) -> FittingRule | None:
    """Return a rule by which half of the images have a second mask, if there is one.

    Only a constant around the whole name of an image counts, such as `a_color` beside `a`: masks
    of `x_right` are not second ones of the image `x_left`.

    Args:
        left_over: Names of masks that no image took, without suffix.
        items: By their names.
    """
    if not items or 2 * len(left_over) < len(items):
        return None
    rules = find_rules(items.keys(), left_over)
    return next((each for each in rules if _is_second(each, len(items))), None)


def _is_second(each: FittingRule, num_items: int) -> bool:
    return each.rule.image == NameRule().image and 2 * len(each.pairs) >= num_items


def _rival(
    chosen: Path, split: str, names: Collection[str], suffixes: frozenset[str]
) -> Path | None:
    """Return a folder beside the chosen one whose name says the same, and that holds images."""
    words = {name.lower() for name in names}
    for folder in sorted(chosen.parent.iterdir()):
        if folder.name == chosen.name or _word(folder.name, split) not in words:
            continue
        is_other = folder.is_dir() and not folder.samefile(chosen)
        if is_other and next(walk_images(folder, suffixes=suffixes), None) is not None:
            return folder
    return None


def _word(name: str, split: str) -> str:
    """Return what the name of a folder says beside its split."""
    if not split:
        return name.lower()
    return name.lower().removeprefix(f"{split.lower()}_").removesuffix(f"_{split.lower()}")
