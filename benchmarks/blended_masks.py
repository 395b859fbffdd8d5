"""How many border pixels of masks are blended, before and after resizing: what the check rests on.

    python benchmarks/blended_masks.py data/camvid [results/blended-masks.json]

Every eighth mask, with its unlabelled pixels as one more class.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from results_file import save

from segmenter.data.folder import open_folder, read_labels
from segmenter.data.masks.inspection import blended_share

WAYS = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def main(root: Path, out: Path | None = None) -> None:
    """Measure and print the table."""
    data = open_folder(root)
    items = [item for split in data.splits for item in data.items(split)]
    masks = [read_labels(item, data.classes) for item in items]
    most = max(map(blended_share, masks))
    print(f"as they are: most {most:.3f} of {len(masks)} masks")
    results: dict[str, object] = {"num_masks": len(masks), "unchanged": {"high": most}}
    for way, flag in WAYS.items():
        ranges = {}
        for factor in (0.25, 0.5, 0.75, 1.5, 2.0):
            shares = []
            for mask in masks[::8]:
                labels = np.where(mask == data.classes.ignore_index, len(data.classes), mask)
                small = cv2.resize(
                    labels.astype(np.uint8), None, fx=factor, fy=factor, interpolation=flag
                )
                shares.append(blended_share(np.asarray(small)))
            print(f"{way:8} x {factor:4}: {min(shares):.3f} to {max(shares):.3f}")
            ranges[factor] = (min(shares), max(shares))
        results[f"{way}_quarter"] = _span([ranges[0.25]])
        results[way] = _span([pair for factor, pair in ranges.items() if factor != 0.25])
    if out:
        save(out, results, precision="integers")


def _span(ranges: list[tuple[float, float]]) -> dict[str, float]:
    """Return the lowest and the highest number of several ranges."""
    return {"low": min(low for low, _ in ranges), "high": max(high for _, high in ranges)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
