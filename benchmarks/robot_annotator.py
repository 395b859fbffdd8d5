"""Strokes that a robot needs until an image is labelled, with the proposals of `label` and without.

    python benchmarks/robot_annotator.py data/camvid --split test --out results/robot-annotator.json

The robot knows the true labels. Again and again, it paints one straight stroke of the true class in
the middle of the largest region that is wrong. Its brush touches the region's border at the widest
place, and is drawn along the longest straight line on which it stays inside of the region. The
robot stops when 95 % of the labelled pixels are right.

- Without help, what is not painted is wrong.
- With help, what is not painted has the label that `label` proposes, which is fitted anew after
  each stroke. When an image is finished, its proposal is accepted, and the next image begins with
  what was learnt.

A run that reaches the largest number of strokes counts as that many.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from segmenter.data.folder import Item, open_folder, read_labels
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import LabelledImage
from segmenter.extras.labelling.fit_assistant import FitAssistant, open_fit
from segmenter.extras.labelling.layers import NOTHING
from segmenter.runtimes.devices import usable_device

AIMS = (0.90, 0.95)
ANGLES = 24
MOST = {"with help": 300, "without help": 3000}

Labels = UInt8[ndarray, "height width"]


class Region(NamedTuple):
    """Connected pixels of one true class that are wrong."""

    inside: Bool[ndarray, "height width"]
    value: int


def main() -> None:
    """Label some images of a data set, add the counts to the file, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=5, help="evenly spaced in the split")
    parser.add_argument("--encoder", default="dinov2-small")
    parser.add_argument("--out", type=Path, default=Path("robot-annotator.json"))
    asked = parser.parse_args()
    data = open_folder(asked.data)
    items = data.items(asked.split)
    chosen = [items[place * len(items) // asked.images] for place in range(asked.images)]
    assistant = open_fit(asked.encoder, usable_device("cpu"))
    began, rows = time.process_time(), []
    for item in chosen:
        truth = read_labels(item, data.classes).astype(np.uint8)
        helped = label_with_help(assistant, item, truth, data.classes)
        alone = label(truth, lambda painted: painted, MOST["without help"])
        rows.append({"image": item.name, "with help": helped, "without help": alone})
        print(rows[-1], flush=True)
    result = {
        "data": asked.data.name,
        "split": asked.split,
        "encoder": asked.encoder,
        "command": " ".join(["python", "benchmarks/robot_annotator.py", *sys.argv[1:]]),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cpu_cores": os.cpu_count()},
        "precision": "tokens float16, fit float32",
        "cpu_seconds": round(time.process_time() - began),
        "most_strokes": MOST,
        "images": rows,
    }
    before = json.loads(asked.out.read_text()) if asked.out.is_file() else []
    results = [*(each for each in before if each["data"] != result["data"]), result]
    asked.out.write_text(json.dumps(results, indent=1) + "\n")
    print_table(results)


def label_with_help(
    assistant: FitAssistant, item: Item, truth: Labels, classes: Any
) -> dict[str, int]:
    """Return the strokes until each aim; the assistant then knows the finished image."""
    version = 0
    shape = (truth.shape[0], truth.shape[1])

    def complete(painted: Labels) -> Labels:
        nonlocal version
        version += 1
        assistant.learn(LabelledImage(item.name, item.image, version, painted), classes)
        try:
            proposed = assistant.propose(item.image, shape, classes).full()
        except UserError:  # one class alone is painted
            return painted
        return np.where(painted == NOTHING, proposed, painted).astype(np.uint8)

    finished: list[Labels] = []
    counts = label(truth, complete, MOST["with help"], finished.append)
    assistant.learn(LabelledImage(item.name, item.image, version + 1, finished[0]), classes)
    return counts


def label(
    truth: Labels,
    complete: Callable[[Labels], Labels],
    most: int,
    on_finished: Callable[[Labels], None] = lambda _: None,
) -> dict[str, int]:
    """Paint until the last aim is reached.

    Args:
        truth: The true labels; `NOTHING` is not labelled.
        complete: Returns the labels that result from what is painted.
        most: Strokes.
        on_finished: Called with the labels at the end.
    """
    painted = np.full_like(truth, NOTHING)
    counts: dict[str, int] = {}
    labels = complete(painted)
    for strokes in range(most + 1):
        is_right = (labels == truth)[truth != NOTHING].mean()
        for aim in AIMS:
            if is_right >= aim:
                counts.setdefault(f"{aim:.2f}", strokes)
        if len(counts) == len(AIMS) or strokes == most:
            break
        region = largest_wrong(labels, truth)
        painted[stroke_in(region.inside)] = region.value
        labels = complete(painted)
    on_finished(labels)
    return {f"{aim:.2f}": counts.get(f"{aim:.2f}", most) for aim in AIMS}


def largest_wrong(labels: Labels, truth: Labels) -> Region:
    """Return the largest region of one true class that is labelled wrongly."""
    wrong = (labels != truth) & (truth != NOTHING)
    best, best_area = Region(wrong, 0), 0
    for value in np.unique(truth[wrong]):
        mask = (wrong & (truth == value)).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        at = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        if stats[at, cv2.CC_STAT_AREA] > best_area:
            best = Region(parts == at, int(value))
            best_area = stats[at, cv2.CC_STAT_AREA]
    return best


def stroke_in(inside: Bool[ndarray, "height width"]) -> Bool[ndarray, "height width"]:
    """Return the pixels of a stroke: the widest brush, drawn along the longest straight line."""
    padded = np.pad(inside.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    middle = np.unravel_index(int(depth.argmax()), depth.shape)
    radius = float(depth[middle])
    least = 0.8 * radius  # a hand that trembles a little still stays inside
    ends = max(
        (_ends(depth, middle, math.pi * angle / ANGLES, least) for angle in range(ANGLES)),
        key=lambda pair: math.dist(*pair),
    )
    stroke = np.zeros_like(padded[1:-1, 1:-1])
    cv2.line(
        stroke,
        *((int(column), int(row)) for row, column in ends),
        1,
        thickness=max(1, round(2 * least) - 1),
    )
    stroke[middle] = 1
    return (stroke > 0) & inside


def _ends(
    depth: ndarray, middle: Sequence[Any], angle: float, least: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Walk from the middle in both directions as long as the brush stays inside."""
    found = []
    for sign in (1, -1):
        down, right = sign * math.sin(angle), sign * math.cos(angle)
        row, column = float(middle[0]), float(middle[1])
        while True:
            place = round(row + down), round(column + right)
            is_inside = 0 <= place[0] < depth.shape[0] and 0 <= place[1] < depth.shape[1]
            if not is_inside or depth[place] < least:
                break
            row, column = row + down, column + right
        found.append((round(row), round(column)))
    return found[0], found[1]


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print the mean number of strokes of each data set."""
    print("| data | right pixels | with help | without help | ratio |\n|---|---|---|---|---|")
    for result in results:
        for aim in AIMS:
            means = [
                np.mean([row[kind][f"{aim:.2f}"] for row in result["images"]]) for kind in MOST
            ]
            ratio = means[0] / means[1]
            print(
                f"| {result['data']} | {100 * aim:.0f} % | {means[0]:.1f} | {means[1]:.1f} | "
                f"{ratio:.2f} |"
            )


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


if __name__ == "__main__":
    main()
