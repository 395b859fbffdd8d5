"""Checking a data set: read all of it once, and put together what is wrong and what it is like."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.checkpoints.bundled import BUNDLED_ENCODERS
from segmenter.classes import Classes
from segmenter.data.decoding.set_bands import (
    constant_bands,
    find_image_spec,
    with_measured_range,
)
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.problems import Problem, Severity
from segmenter.data.pairing.items import Item
from segmenter.extras.checking.data_problems import find_problems, independent_splits
from segmenter.extras.checking.doubtful_labels import Doubts
from segmenter.extras.checking.findings import Finding, group, one_line
from segmenter.extras.checking.fingerprint import MAX_DISTANCE, NUM_BITS, Fingerprint, find_alike
from segmenter.extras.checking.item_inspection import Inspection, is_usable
from segmenter.extras.checking.preset_proposal import PresetProposal, propose_preset
from segmenter.extras.checking.reading import default_workers, inspect_all
from segmenter.extras.checking.split_facts import (
    SplitFacts,
    Suggestions,
    missing_classes,
    suggest,
    summarise,
)
from segmenter.inference.shown_size import shown_size
from segmenter.model import EvaluationProtocol
from segmenter.model.architectures import ARCHITECTURES
from segmenter.recipe import Recipe, read_recipe
from segmenter.text import visible
from segmenter.training.sizes import choose_sizes

JSON_VERSION = 1
_MAX_EXAMPLES = 1000
"""Problems of one kind that go into the JSON."""


@dataclass(frozen=True, repr=False)
class Check:
    """Findings of a data set."""

    data: str
    """The data set as the user named it."""
    classes: Classes
    splits: tuple[SplitFacts, ...]
    findings: tuple[Finding, ...]
    suggestions: Suggestions
    finetune: Recipe
    """The recipe `finetune`, with the sizes that it chooses for this data set."""
    size_lines: tuple[str, ...]
    """The sizes that it chooses, with the reason, and the size at which images are then shown."""
    preset: PresetProposal
    """Preset of augmentation that may suit the images."""
    usable: frozenset[Item]
    """Images with a mask, neither of them with an error."""
    doubts: Doubts | None = None
    """Labels that are probably wrong; None if labels were not compared, or could not be."""

    @property
    def is_clean(self) -> bool:
        """Return True if there is nothing but notes."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    @property
    def verdict(self) -> str:
        """Count the kinds of problems of each severity, in words."""
        numbers = Counter(finding.severity for finding in self.findings)
        parts = [
            f"{numbers[severity]} {'kind' if numbers[severity] == 1 else 'kinds'} of {severity}s"
            for severity in Severity
            if numbers[severity]
        ]
        clean = ["no errors and no warnings"] if self.is_clean else []
        return ", ".join(clean + parts)

    def __repr__(self) -> str:
        """Return the verdict, a line for each finding, and how many labels are doubtful."""
        lines = [f"Check({visible(self.data)}: {self.verdict})"]
        for finding in self.findings:
            lines += [f"{finding.severity}: {visible(one_line(finding))}", f"  -> {finding.advice}"]
        if self.doubts is not None:
            lines.append(visible(self.doubts.summary))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return everything, with keys that stay; `version` grows if one changes its meaning."""
        names, image = self.classes.names, self.classes.image
        doubts = {} if self.doubts is None else {"doubtful_labels": self.doubts.to_json()}
        return {
            "version": JSON_VERSION,
            "data": self.data,
            "is_clean": self.is_clean,
            "near_duplicate_threshold": {"max_distance": MAX_DISTANCE, "bits": NUM_BITS},
            "findings": [_finding_json(finding) for finding in self.findings],
            "splits": {split.name: _split_json(split, names) for split in self.splits},
            "image": image and image.model_dump(mode="json"),
            "suggestions": {
                "from_split": self.suggestions.split,
                "class_weights": {
                    rule: dict(zip(names, np.round(weights, 4).tolist(), strict=True))
                    for rule, weights in self.suggestions.class_weights.items()
                },
                "crop_size": {
                    f"patch_size_{patch}": side
                    for patch, side in self.suggestions.crop_sizes.items()
                },
                "finetune": {
                    "short_side": self.finetune.protocol.short_side,
                    "window": self.finetune.protocol.window,
                    "stride": self.finetune.protocol.stride,
                    "crop_size": self.finetune.augment.crop_size,
                },
                "augment_preset": self.preset._asdict(),
            },
            **doubts,
        }


def check(
    data: LabelledFolder,
    name: str,
    workers: int | None = None,
    on_item: Callable[[], object] = lambda: None,
) -> Check:
    """Read every image and mask once, and say what is wrong and what the data are like.

    Args:
        data: Opened with `keep_problems`.
        name: What to call it.
        workers: Processes that read; 0: this one; None: as many as pay.
        on_item: Called for each image that was read.
    """
    splits, nested = independent_splits(data)
    items = list(dict.fromkeys(item for members in splits.values() for item in members))
    given = data.classes.image
    image = find_image_spec([item.image for item in items], None, given)
    data = replace(data, classes=data.classes.with_image(image))
    number = default_workers(len(items)) if workers is None else workers
    found: dict[Item, Inspection] = {}
    for item, inspection in zip(items, inspect_all(items, data.classes, number), strict=True):
        found[item] = inspection
        on_item()
    facts = tuple(
        summarise(split, [found[item] for item in members], len(data.classes))
        for split, members in splits.items()
    )
    problems = [*find_problems(data, splits, found), *nested]
    for place, each in enumerate(facts):
        kind = "class-not-scored" if place else "class-missing"
        problems += missing_classes(each.pixel_counts, data.classes, each.name, kind)
    problems += _alike(splits, found)
    if image is not None:
        of_first = next(iter(splits.values()), ())
        quantiles = [each for item in of_first if (each := found[item].quantiles) is not None]
        problems += constant_bands(image, quantiles)
        image = image if image == given else with_measured_range(image, quantiles)
    training = facts[0] if facts else summarise("", (), len(data.classes))
    recipe, lines = _finetune(name, training, data.classes)
    classes = data.classes.with_image(image)
    of_training = [found[item] for item in next(iter(splits.values()), ())]
    preset = propose_preset(of_training, classes.names)
    usable = frozenset(item for item in items if is_usable(found[item]))
    advice = suggest(training), recipe, lines, preset
    return Check(name, classes, facts, group(problems), *advice, usable)


def _finetune(name: str, training: SplitFacts, classes: Classes) -> tuple[Recipe, tuple[str, ...]]:
    """Return the sizes that `segmenter train --data` would choose, and lines that say so."""
    recipe = read_recipe("finetune", {"data": {"root": name}})
    facts = training.regions
    encoder = ARCHITECTURES[BUNDLED_ENCODERS[str(recipe.model.weights)].architecture][0]
    recipe, reason = choose_sizes(recipe, facts, classes.names, encoder.patch_size)
    sizes = [(int(height), int(width)) for height, width in facts.sizes]
    protocol = EvaluationProtocol.model_validate(recipe.protocol.model_dump(exclude={"rules"}))
    shown = shown_size(sizes, protocol, encoder.patch_size, "--protocol.short_side")
    return recipe, (f"for training, {reason}", shown) if shown else ()


def _alike(splits: Mapping[str, Sequence[Item]], found: Mapping[Item, Inspection]) -> list[Problem]:
    """Return images that look alike, across splits and within one."""
    images: list[tuple[int, Item, Fingerprint]] = []
    problems: list[Problem] = []
    names = list(splits)
    seen: set[tuple[int, bytes]] = set()
    for split, members in enumerate(splits.values()):
        for item in members:
            image = found[item].image
            if image is not None and (split, image.fingerprint.digest) not in seen:
                seen.add((split, image.fingerprint.digest))
                images.append((split, item, image.fingerprint))
    fingerprints = [each for _, _, each in images]
    places = [split for split, _, _ in images]
    for match in find_alike(fingerprints, places, across=True):
        split, item, _ = images[match.place]
        other_split, other, _ = images[match.other]
        mirrored = "mirrored, " if match.is_mirrored else ""
        message = (
            f"{item.image} ({names[split]}) looks like {other.image} ({names[other_split]}): "
            f"{mirrored}{match.distance} of {NUM_BITS} bits differ"
        )
        problems.append(Problem("near-leak", message, (other.image, item.image)))
    return problems + _groups(images, names)


def _groups(images: Sequence[tuple[int, Item, Fingerprint]], names: Sequence[str]) -> list[Problem]:
    """Return one problem for each group of images that look alike in one split."""
    groups: dict[int, list[int]] = {}
    start: dict[int, int] = {}
    fingerprints = [each for _, _, each in images]
    splits = [split for split, _, _ in images]
    for match in find_alike(fingerprints, splits, across=False):
        first = start.setdefault(match.place, start.get(match.other, match.other))
        groups.setdefault(first, [first]).append(match.place)
    problems = []
    for members in groups.values():
        paths: list[Path] = [images[place][1].image for place in members]
        between = " ... " if len(paths) > 2 else " and "
        message = (
            f"{len(paths)} images in {names[splits[members[0]]]}: {paths[0]}{between}{paths[-1]}"
        )
        problems.append(Problem("near-duplicate", message, tuple(paths)))
    return problems


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "severity": str(finding.severity),
        "title": finding.title,
        "advice": finding.advice,
        "count": len(finding.problems),
        "values": [
            {
                "value": each.value,
                "pixels": each.num_pixels,
                "masks": each.num_masks,
                "example": each.example,
            }
            for each in finding.values[:_MAX_EXAMPLES]
        ],
        "examples": [
            {"message": problem.message, "files": [str(path) for path in problem.paths]}
            for problem in finding.problems[:_MAX_EXAMPLES]
        ],
    }


def _split_json(split: SplitFacts, names: Sequence[str]) -> dict[str, Any]:
    total = max(int(split.pixel_counts.sum()), 1)
    return {
        "photos": split.num_images,
        "usable": split.num_usable,
        "ignored_pixels": split.num_ignored,
        "classes": {
            name: {"pixels": int(pixels), "share": round(int(pixels) / total, 6), "masks": masks}
            for name, pixels, masks in zip(
                names, split.pixel_counts, split.mask_counts.tolist(), strict=True
            )
        },
        "sizes": [
            {"height": height, "width": width, "photos": count}
            for (height, width), count in split.sizes
        ],
        "mean": None if split.mean is None else np.round(split.mean, 3).tolist(),
        "std": None if split.std is None else np.round(split.std, 3).tolist(),
    }
