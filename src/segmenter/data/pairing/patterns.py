"""Images and masks that are named outright, by a pattern of each."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segmenter.data.decoding.image_formats import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    describe_passed_over,
)
from segmenter.data.masks.problems import Problem
from segmenter.data.pairing.file_names import composed
from segmenter.data.pairing.items import Item, same_name, without_mask
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError
from segmenter.options import Pairs

_EXAMPLE = "such as --images 'img/{}.jpg' --masks 'labels/{}_mask.png'"
_PLACE = re.compile(r"(\{[^{}]*\}|\*)")
_MEANING = {
    "{}": "(?P<name>.+)",
    "{split}": "(?P<split>[^/]+)",
    "*": "[^/]*",
}
_Key = tuple[str, str]
"""Split, or an empty text, and name."""


@dataclass(frozen=True)
class _Pattern:
    flag: str
    text: str
    base: Path
    """Folder before the first place."""
    regex: re.Pattern[str]
    """Pattern of paths inside the folder."""
    rank: int
    """Number of characters that are fixed: of two patterns that fit a file, the longer is meant."""

    def filled(self, key: _Key) -> str:
        """Return the path of one name, as far as the pattern says it."""
        return self.text.replace("{split}", key[0]).replace("{}", key[1])

    @property
    def said(self) -> str:
        """The pattern as the user wrote it."""
        return f"{self.flag} {self.text}"

    def example(self, suffixes: frozenset[str]) -> str:
        """Name a file that does not fit, in the folder where the pattern begins."""
        seen = next(walk_images(self.base, suffixes=suffixes), None)
        return f"there is, for example, {seen}" if seen else f"{self.base} holds no image"

    def find(
        self, suffixes: frozenset[str], passed_over: Counter[str] | None = None
    ) -> Iterator[tuple[_Key, Path]]:
        """Yield the files that fit, in the order of their paths; count what no pattern can fit."""
        if not self.base.is_dir():
            raise UserError(f"{self.said}: no such folder: {self.base}")
        for path in walk_images(self.base, suffixes=suffixes, passed_over=passed_over):
            fit = self.regex.fullmatch(composed(path.relative_to(self.base).as_posix()))
            if fit:
                groups = fit.groupdict()
                yield (groups.get("split") or "", groups["name"]), path


def check_pairs(pairs: Pairs) -> None:
    """Refuse patterns that say nothing.

    Raises:
        UserError: If one is missing, or has not one `{}`, or a place that is unknown.
    """
    given = {"--images": pairs.images, "--masks": pairs.masks}
    missing = [flag for flag, text in given.items() if text is None]
    if len(missing) == 1:
        raise UserError(f"{missing[0]} is missing: give both patterns, {_EXAMPLE}")
    for flag, text in given.items():
        places = _PLACE.findall(text or "")
        unknown = [place for place in places if place not in _MEANING]
        if text is not None and (places.count("{}") != 1 or places.count("{split}") > 1 or unknown):
            raise UserError(
                f"{flag} {text!r}: a pattern has {{}} once, for what image and mask share, and may "
                f"have {{split}} for a folder and * for any text, {_EXAMPLE}"
            )
    if ("{split}" in (pairs.images or "")) != ("{split}" in (pairs.masks or "")):
        raise UserError("--images and --masks must both have {split}, or neither")


def find_by_pattern(
    root: Path, pairs: Pairs, passed_over: Counter[str]
) -> tuple[dict[str, Item], list[Problem]]:
    """Return the items that two patterns name, by their names, and what could not become one.

    Args:
        root: Folder of the data set; patterns are relative to it.
        pairs: Both patterns, checked.
        passed_over: Counts the files of formats that are not read where images are looked for, by
            suffix.

    Raises:
        UserError: If a folder is missing, or no image fits.
    """
    images = _compiled("--images", pairs.images or "", root, IMAGE_SUFFIXES)
    masks = _compiled("--masks", pairs.masks or "", root, MASK_SUFFIXES)
    found_images = list(images.find(IMAGE_SUFFIXES, passed_over))
    found_masks = list(masks.find(MASK_SUFFIXES))
    both = {path for _, path in found_images} & {path for _, path in found_masks}
    if images.rank > masks.rank:
        found_masks = [each for each in found_masks if each[1] not in both]
    else:
        found_images = [each for each in found_images if each[1] not in both]
    if not found_images:
        hint = f"; {describe_passed_over(passed_over)}" if passed_over else ""
        raise UserError(f"no image fits {images.said}; {images.example(IMAGE_SUFFIXES)}{hint}")
    if not found_masks:
        raise UserError(f"no mask fits {masks.said}; {masks.example(MASK_SUFFIXES)}")
    by_key: dict[_Key, list[Path]] = {}
    for key, path in found_masks:
        by_key.setdefault(key, []).append(path)
    return _paired(found_images, by_key, root, masks, images)


def _paired(
    images: list[tuple[_Key, Path]],
    by_key: Mapping[_Key, list[Path]],
    root: Path,
    mask_pattern: _Pattern,
    image_pattern: _Pattern,
) -> tuple[dict[str, Item], list[Problem]]:
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    for key, image in images:
        name = "/".join(part for part in key if part)
        mask, *others = by_key.get(key, [None])
        if name in items:
            problems.append(same_name(items[name].image, image))
        elif mask is None:
            problems.append(without_mask(image, root / mask_pattern.filled(key)))
        else:
            items[name] = Item(name, image, mask)
            if others:
                message = (
                    f"{mask} and {others[0]} are masks of one image; remove one, or have --masks "
                    "end with the suffix of the one that is meant"
                )
                problems.append(Problem("several-masks", message, (mask, *filter(None, others))))
    for key in by_key.keys() - {key for key, _ in images}:
        path = by_key[key][0]
        message = f"{path} has no image; expected {root / image_pattern.filled(key)}"
        problems.append(Problem("mask-without-photo", message, tuple(by_key[key])))
    return items, problems


def _compiled(flag: str, text: str, root: Path, suffixes: frozenset[str]) -> _Pattern:
    slashed = text.replace("\\", "/")
    parts = slashed.split("/")
    depth = next(index for index, part in enumerate(parts) if _PLACE.search(part))
    base = "/".join(parts[:depth]) or ("/" if slashed.startswith("/") else ".")
    rest = composed("/".join(parts[depth:]))
    stem, suffix = os.path.splitext(rest)  # noqa: PTH122
    if suffix.lower() not in suffixes:
        stem, suffix = rest.removesuffix(".*"), ""
    ending = f"(?i:{re.escape(suffix)})" if suffix else r"\.[^/.]+"
    body = "".join(_MEANING.get(part, re.escape(part)) for part in _PLACE.split(stem))
    rank = len("".join(part for part in _PLACE.split(slashed) if part not in _MEANING))
    return _Pattern(flag, text, root / base, re.compile(body + ending), rank)
