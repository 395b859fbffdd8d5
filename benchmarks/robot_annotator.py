"""Strokes that a robot needs until an image is labelled, with the proposals of `label` and without.

    python benchmarks/robot_annotator.py data/camvid --json results/robot-annotator.json

The robot knows the true labels. Again and again, it paints one straight stroke of the true class in
the middle of the largest region that is wrong. Its brush touches the region's border at the widest
place, and is drawn along the longest straight line on which it stays inside of the region. The
robot stops when 95 % of the labelled pixels are right.

- Without help, what is not painted is wrong.
- With help, what is not painted has the label that `label` proposes, which is fitted anew after
  each stroke. When an image is finished, its proposal is accepted, and the next image begins with
  what was learnt.
- By outlines, without help, another robot clicks the corners of a polygon around the largest wrong
  region, each within a pixel of its border. Its clicks are counted.

A run that reaches the largest number of strokes counts as that many. A data set that is in the file
already is not repeated.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray
from results_file import load, save

from segmenter.classes import Classes
from segmenter.data.folder import Item, open_folder, read_labels
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import LabelledImage
from segmenter.extras.labelling.fit_assistant import FitAssistant, open_fit
from segmenter.extras.labelling.layers import NOTHING
from segmenter.runtimes.devices import usable_device

AIMS = (0.90, 0.95)
ANGLES = 24
MOST = {"with_help": 300, "without_help": 3000, "outlines": 20_000}
"""Strokes at most; for outlines, clicks."""
CORNER_ERROR = 1.0
"""Pixels by which a polygon of the robot leaves the border of its region, at most."""

Labels = UInt8[ndarray, "height width"]
Mask = Bool[ndarray, "height width"]


class Region(NamedTuple):
    """Connected pixels of one true class that are wrong."""

    inside: Mask
    value: int


class Painted(NamedTuple):
    """Pixels that a move of the hand paints, and the strokes or clicks that it costs."""

    pixels: Mask
    cost: int


def main() -> None:
    """Label some images of a data set, add the counts to the file, print a table."""
    parser = argparse.ArgumentParser(description="Count the strokes of a robot.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=6, help="evenly spaced in the split")
    parser.add_argument("--encoder", default="dinov2-small")
    parser.add_argument("--json", type=Path, default=Path("robot-annotator.json"))
    asked = parser.parse_args()
    results = load(asked.json, {"rows": [], "images": []})
    if all(row["data"] != asked.data.name for row in results["rows"]):
        counts = count_strokes(asked)
        results["images"] += counts
        results["rows"] += summary(asked, counts)
        save(asked.json, results, "tokens float16, fit float32")
    print_table(results["rows"])


def count_strokes(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the strokes that each image takes, in each way, until each aim."""
    data = open_folder(asked.data)
    items = data.items(asked.split)
    assistant = open_fit(asked.encoder, usable_device("cpu"))
    found = []
    for place in range(asked.images):
        item, begin = items[place * len(items) // asked.images], time.perf_counter()
        truth = read_labels(item, data.classes).astype(np.uint8)
        found.append(
            {
                "data": asked.data.name,
                "image": item.name,
                "with_help": label_with_help(assistant, item, truth, data.classes),
                "without_help": label(truth, painted_alone, stroke_in, MOST["without_help"]),
                "outlines": label(truth, painted_alone, outline_of, MOST["outlines"]),
                "seconds": round(time.perf_counter() - begin),
            }
        )
        print(found[-1], flush=True)
    return found


def summary(asked: argparse.Namespace, counts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean counts until each aim."""
    rows = []
    for aim in AIMS:
        means = {
            kind: float(np.mean([each[kind][f"{aim:.2f}"] for each in counts])) for kind in MOST
        }
        row = {"data": asked.data.name, "split": asked.split, "encoder": asked.encoder}
        row |= {"images": len(counts), "right": aim, **means}
        rows.append(row | {"ratio": means["with_help"] / means["without_help"]})
    return rows


def painted_alone(painted: Labels) -> Labels:
    """Return the labels without help: what is not painted has none."""
    return painted


def label_with_help(
    assistant: FitAssistant, item: Item, truth: Labels, classes: Classes
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
    counts = label(truth, complete, stroke_in, MOST["with_help"], finished.append)
    assistant.learn(LabelledImage(item.name, item.image, version + 1, finished[0]), classes)
    return counts


def label(
    truth: Labels,
    complete: Callable[[Labels], Labels],
    paint: Callable[[Mask], Painted],
    most: int,
    on_finished: Callable[[Labels], None] = lambda _: None,
) -> dict[str, int]:
    """Paint until the last aim is reached.

    Args:
        truth: The true labels; `NOTHING` is not labelled.
        complete: Returns the labels that result from what is painted.
        paint: Returns what the hand paints in a wrong region.
        most: Strokes.
        on_finished: Called with the labels at the end.
    """
    painted = np.full_like(truth, NOTHING)
    counts: dict[str, int] = {}
    labels, cost = complete(painted), 0
    while True:
        is_right = (labels == truth)[truth != NOTHING].mean()
        for aim in AIMS:
            if is_right >= aim:
                counts.setdefault(f"{aim:.2f}", cost)
        if len(counts) == len(AIMS) or cost >= most:
            break
        region = largest_wrong(labels, truth)
        move = paint(region.inside)
        painted[move.pixels] = region.value
        cost += move.cost
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


def stroke_in(inside: Mask) -> Painted:
    """Paint one stroke: the widest brush, drawn along the longest straight line."""
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
    first, last = ((int(column), int(row)) for row, column in ends)
    cv2.line(
        stroke,
        first,
        last,
        1,
        thickness=max(1, round(2 * least) - 1),
    )
    stroke[middle] = 1
    return Painted((stroke > 0) & inside, 1)


def outline_of(inside: Mask) -> Painted:
    """Paint the polygon around a region, its holes too; each corner costs a click."""
    contours, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    corners = cv2.approxPolyDP(max(contours, key=len), CORNER_ERROR, closed=True)
    polygon = np.zeros(inside.shape, np.uint8)
    cv2.fillPoly(polygon, [corners], 1)
    return Painted(polygon > 0, max(len(corners), 3))


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


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the mean number of strokes of each data set."""
    print("| data | right pixels | with help | without help | ratio | clicks of outlines |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        counts = " | ".join(f"{row[key]:.1f}" for key in ("with_help", "without_help"))
        print(
            f"| {row['data']} | {100 * row['right']:.0f} % | {counts} | {row['ratio']:.2f} | "
            f"{row['outlines']:.0f} |"
        )


if __name__ == "__main__":
    main()
