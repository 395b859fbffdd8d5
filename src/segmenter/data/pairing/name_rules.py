"""Rules by which the name of a mask follows from that of its image: what differs is constant.

`a.jpg` has `a_mask.png`, `x_leftImg8bit.png` has `x_gtFine_labelIds.png`, `img_7.jpg` has
`mask_7.png`: before and after what they share, all images have one text, and all masks another.
Such rules are read off some names, and the one that fits most of all names is taken.
"""

import bisect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

_NUM_SAMPLED = 10
"""Number of images, and of masks, from which the rules are chosen."""
_NUM_NEAR = 3
"""So many names before and after another in the alphabet may belong to it."""
_MAX_SHARING = 6
"""A word that more names share than this does not tell which belong together."""
_NUM_COUNTED = 16
"""So many rules, those that fit a sample best, are tried on all names."""
_SAMPLE = 500
_WORD = re.compile(r"[A-Za-z]+|[0-9]+")


@dataclass(frozen=True)
class NameRule:
    """Texts before and after the shared part, in the names of images and of masks."""

    image: tuple[str, str] = ("", "")
    mask: tuple[str, str] = ("", "")

    def mask_of(self, name: str) -> str | None:
        """Return the name of an image's mask; None where the image is not named by this rule.

        Names are paths with `/` and without suffix; image and mask lie in folders of one name.
        """
        folder, slash, last = name.rpartition("/")
        core = _core(last, self.image)
        return core and f"{folder}{slash}{self.mask[0]}{core}{self.mask[1]}"

    def image_of(self, name: str) -> str | None:
        """Return the name of a mask's image; None where the mask is not named by this rule."""
        return NameRule(self.mask, self.image).mask_of(name)

    def is_mask(self, name: str) -> bool:
        """Return whether a name is one of a mask by this rule."""
        return bool(_core(name.rpartition("/")[2], self.mask))

    @property
    def length(self) -> int:
        """Number of characters that are constant."""
        return sum(map(len, self.image + self.mask))


SAME_NAME = NameRule()


@dataclass(frozen=True)
class FittingRule:
    """A rule, and the pairs that it makes."""

    rule: NameRule
    pairs: Mapping[str, str]
    """Masks by their images."""


def find_rules(images: Collection[str], masks: Collection[str]) -> list[FittingRule]:
    """Find the rule by which names of images become those of masks.

    Args:
        images: Names of images: paths with `/`, without suffix.
        masks: Names of masks.

    Returns:
        The rule that fits best, alone if it is clear; several where others fit as well and pair
        other files; none if no rule pairs half of the images, or of the masks.
    """
    names, there = sorted(images), frozenset(masks)
    sample = names[:: max(1, len(names) // _SAMPLE)]
    candidates = {SAME_NAME, *_candidates(names, sorted(there))}
    ranked = sorted(
        candidates, key=lambda rule: (-_count(rule, sample, there), rule.length, rule.mask)
    )
    fitting = [FittingRule(rule, _pairs(rule, names, there)) for rule in ranked[:_NUM_COUNTED]]
    fitting = [each for each in fitting if len(each.pairs) > 1 or _is_plain(each)]
    best = max(fitting, key=lambda each: (len(each.pairs), -each.rule.length), default=None)
    if best is None or 2 * len(best.pairs) < min(len(names), len(there)):
        return []
    same = next((each for each in fitting if each.rule == SAME_NAME), None)
    if same is not None and len(same.pairs) == len(best.pairs):
        return [same]
    return [_at_words(each) for each in (best, *_rivals(best, fitting))]


def _at_words(each: FittingRule) -> FittingRule:
    """Let constants begin and end with the mark that all names have there, such as `_mask`."""
    rule = each.rule
    cores = [_core(_last(image), rule.image) or "" for image in each.pairs]
    first, last = ({core[place] for core in cores} for place in (0, -1))
    is_shorter = all(len(core) > 2 for core in cores)
    before = first.pop() if len(first) == 1 and rule.image[0] + rule.mask[0] else ""
    after = last.pop() if len(last) == 1 and rule.image[1] + rule.mask[1] else ""
    before, after = (mark if is_shorter and not mark.isalnum() else "" for mark in (before, after))
    words = NameRule(
        (rule.image[0] + before, after + rule.image[1]),
        (rule.mask[0] + before, after + rule.mask[1]),
    )
    return FittingRule(words, each.pairs)


def _rivals(best: FittingRule, fitting: Sequence[FittingRule]) -> list[FittingRule]:
    """Return rules that fit as well, or give images of the best rule masks that it leaves over."""
    taken = set(best.pairs.values())
    rivals: list[FittingRule] = []
    for each in fitting:
        fits_as_well = len(each.pairs) == len(best.pairs) and each.pairs != best.pairs
        left_over = sum(
            image in best.pairs and mask not in taken for image, mask in each.pairs.items()
        )
        if fits_as_well or 2 * left_over >= len(best.pairs):
            rivals.append(each)
    return rivals


def _is_plain(each: FittingRule) -> bool:
    """Return whether a rule for a single pair is more than chance: it cuts between words."""
    rule = each.rule
    for image in each.pairs:
        core = _core(_last(image), rule.image) or ""
        starts = core[:1].isalnum() and any(
            each[-1:].isalnum() for each in (rule.image[0], rule.mask[0])
        )
        ends = core[-1:].isalnum() and any(
            each[:1].isalnum() for each in (rule.image[1], rule.mask[1])
        )
        return not (starts or ends)
    return False


def _pairs(rule: NameRule, images: Sequence[str], masks: frozenset[str]) -> dict[str, str]:
    found = ((image, rule.mask_of(image)) for image in images)
    return {image: mask for image, mask in found if mask is not None and mask in masks}


def _count(rule: NameRule, images: Sequence[str], masks: frozenset[str]) -> int:
    return sum(rule.mask_of(image) in masks for image in images)


def _core(name: str, constants: tuple[str, str]) -> str | None:
    """Return what stands between the constants; None if they are not there, or nothing is left."""
    before, after = constants
    if len(name) <= len(before) + len(after):
        return None
    if not (name.startswith(before) and name.endswith(after)):
        return None
    return name[len(before) : len(name) - len(after)]


def _candidates(images: Sequence[str], masks: Sequence[str]) -> Iterator[NameRule]:
    """Yield rules that pair some image with some mask."""
    of_images, of_masks = _Names(images), _Names(masks)
    for image in _spread(images):
        for mask in of_masks.near(image):
            yield from _rules_between(_last(image), mask)
    for mask in _spread(masks):
        for image in of_images.near(mask):
            yield from _rules_between(image, _last(mask))


class _Names:
    """Names by their folder, in the order of the alphabet, of the reversed one, and by word."""

    def __init__(self, names: Sequence[str]) -> None:
        self._forward: dict[str, list[str]] = {}
        for name in names:
            self._forward.setdefault(name.rpartition("/")[0], []).append(_last(name))
        self._backward: dict[str, list[str]] = {}
        self._by_word: dict[str, dict[str, list[str]]] = {}
        for folder, lasts in self._forward.items():
            lasts.sort()
            self._backward[folder] = sorted(last[::-1] for last in lasts)
            words = self._by_word.setdefault(folder, {})
            for last in lasts:
                for word in set(_WORD.findall(last)):
                    words.setdefault(word, []).append(last)

    def near(self, name: str) -> set[str]:
        """Return names in the folder of the same name that may belong to a name."""
        folder, last = name.rpartition("/")[0], _last(name)
        found = set(_around(self._forward.get(folder, []), last))
        found |= {each[::-1] for each in _around(self._backward.get(folder, []), last[::-1])}
        words = self._by_word.get(folder, {})
        for word in set(_WORD.findall(last)):
            sharing = words.get(word, [])
            found.update(sharing if len(sharing) <= _MAX_SHARING else ())
        return found


def _around(names: Sequence[str], name: str) -> Sequence[str]:
    place = bisect.bisect_left(names, name)
    return names[max(0, place - _NUM_NEAR) : place + _NUM_NEAR]


def _rules_between(image: str, mask: str) -> Iterator[NameRule]:
    """Yield the rules that turn one name into another, for each part that they share."""
    starts = [(0, 0), (len(image), len(mask))]
    for word in _WORD.finditer(image):
        place = mask.find(word[0])
        while place >= 0:
            starts.append((word.start(), place))
            place = mask.find(word[0], place + 1)
    for at_image, at_mask in starts:
        before = _shared_end(image[:at_image], mask[:at_mask])
        after = _shared_start(image[at_image:], mask[at_mask:])
        if before + after:
            rule = NameRule(
                (image[: at_image - before], image[at_image + after :]),
                (mask[: at_mask - before], mask[at_mask + after :]),
            )
            core = image[at_image - before : at_image + after]
            if not _cuts_a_number(rule, core):
                yield rule


def _shared_start(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _shared_end(one: str, other: str) -> int:
    return _shared_start(one[::-1], other[::-1])


def _cuts_a_number(rule: NameRule, core: str) -> bool:
    """Return whether a constant ends within a number: 101 is not the name of a mask of 001."""
    before, after = rule.image[0][-1:] + rule.mask[0][-1:], rule.image[1][:1] + rule.mask[1][:1]
    starts = core[0].isdigit() and any(map(str.isdigit, before))
    return starts or (core[-1].isdigit() and any(map(str.isdigit, after)))


def _spread(names: Sequence[str]) -> Sequence[str]:
    """Return some names, spread evenly."""
    return names[:: max(1, len(names) // _NUM_SAMPLED)][:_NUM_SAMPLED]


def _last(name: str) -> str:
    return name.rpartition("/")[2]
