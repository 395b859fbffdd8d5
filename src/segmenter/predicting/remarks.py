"""Remarks on the reading of images, each printed once for a run."""

from collections import Counter
from pathlib import Path

from segmenter.predicting.images import Result


class Remarks:
    """Collect the remarks of a run: each once, with the number of its images."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, Path] = {}

    def add(self, result: Result) -> None:
        """Count what is said of one image."""
        for remark in result.remarks:
            self._counts[remark] += 1
            self._first.setdefault(remark, result.path)

    def print(self) -> None:
        """Print a line for each remark."""
        for remark, count in self._counts.items():
            first = self._first[remark]
            which = f"{first}" if count == 1 else f"{count} images, the first {first}"
            print(f"note: {which}: {remark}")
