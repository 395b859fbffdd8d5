"""From single problems to findings: one for each kind, the gravest first."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from segmenter.classes import MaskValue
from segmenter.data.masks.problems import KINDS, Problem, Severity


@dataclass(frozen=True)
class ValueCount:
    """A mask value that no class has."""

    value: MaskValue
    num_pixels: int
    num_masks: int
    example: str
    """A mask that holds it."""


@dataclass(frozen=True)
class Finding:
    """All problems of one kind."""

    kind: str
    problems: tuple[Problem, ...]
    """The problems in the order in which they were found; never empty."""

    @property
    def severity(self) -> Severity:
        """Return its severity."""
        return KINDS[self.kind].severity

    @property
    def title(self) -> str:
        """Describe the finding."""
        return KINDS[self.kind].title

    @property
    def advice(self) -> str:
        """Return the remedy."""
        return KINDS[self.kind].advice

    @cached_property
    def values(self) -> tuple[ValueCount, ...]:
        """Mask values that no class has, over all masks, the commonest first."""
        pixels: Counter[MaskValue] = Counter()
        masks: Counter[MaskValue] = Counter()
        example: dict[MaskValue, str] = {}
        for problem in self.problems:
            for value, count in problem.values:
                pixels[value] += count
                masks[value] += 1
                example.setdefault(value, str(problem.paths[0]))
        return tuple(
            ValueCount(value, count, masks[value], example[value])
            for value, count in pixels.most_common()
        )


def group(problems: Iterable[Problem]) -> tuple[Finding, ...]:
    """Return one finding for each kind of problem, in the order of `KINDS`."""
    by_kind: dict[str, list[Problem]] = {kind: [] for kind in KINDS}
    for problem in problems:
        by_kind[problem.kind].append(problem)
    return tuple(Finding(kind, tuple(found)) for kind, found in by_kind.items() if found)


def one_line(finding: Finding) -> str:
    """Return a finding on one line: how many, and the first of them."""
    more = len(finding.problems) - 1
    rest = f" (and {more} more)" if more else ""
    return f"{finding.title} ({len(finding.problems)}): {finding.problems[0].message}{rest}"
