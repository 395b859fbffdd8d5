"""Items of a data set: an image and its mask, not yet read."""

from dataclasses import dataclass
from pathlib import Path

from segmenter.data.masks.problems import Problem


@dataclass(frozen=True)
class Item:
    """One image and its mask, not yet read."""

    name: str
    """Path of the image inside its data set, without suffix and with `/` between folders."""
    image: Path
    mask: Path | None
    """Mask of the image; None if a list names only the image, for prediction."""


@dataclass(frozen=True)
class Pairing:
    """The items that were found, and what could not become one."""

    splits: dict[str, tuple[Item, ...]]
    """Items of each split, in the order of their names or of the list."""
    problems: tuple[Problem, ...] = ()
    note: str = ""
    """Rule that pairs them, in one line; empty for `images/NAME` and `masks/NAME`."""


def without_mask(image: Path, expected: Path) -> Problem:
    """Return the problem of an image whose mask is not where it should be."""
    return Problem("photo-without-mask", f"{image} has no mask; expected {expected}", (image,))


def same_name(first: Path, second: Path) -> Problem:
    """Return the problem of two images that one mask would belong to."""
    is_plain = first.with_suffix("") == second.with_suffix("")
    what = "suffix" if is_plain else "the encoding of their accents (Unicode NFC and NFD)"
    message = f"{first} and {second} differ only in {what}; rename one"
    return Problem("same-name", message, (first, second))
