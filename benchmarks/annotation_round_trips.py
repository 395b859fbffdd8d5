r"""Masks written as each annotation format and read back: the share of pixels that are equal.

    PYTHONPATH=src:. python benchmarks/annotation_round_trips.py data/camvid data/membrane \
        --images 70

Writes results/annotation_round_trips.json, and prints the table of docs/how-to/prepare.md.
A folder without classes.yaml holds masks of 0 and 255. `--images N` takes N images of each, spread
evenly; `--written NAME` measures one format, and keeps the other results.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from results_file import load, save
from tests.helpers.annotation_exports import WRITERS, LabelledImage, read_back

from segmenter.classes import Classes, ClassInfo
from segmenter.data.annotations.convert_export import convert_annotations
from segmenter.data.folder import find_classes, find_splits, has_classes, open_folder, read_labels

RESULTS = Path("results/annotation_round_trips.json")
_TWO = Classes(
    classes=(
        ClassInfo(name="black", color=(0, 0, 0), values=(0,)),
        ClassInfo(name="white", color=(255, 255, 255), values=(255,)),
    ),
    ignore=(),
)


def read_images(root: Path, most: int | None) -> tuple[list[LabelledImage], Classes]:
    """Read the label maps of a data set."""
    if has_classes(find_classes(root)):
        data = open_folder(root)
        classes, splits = data.classes, data.splits
    else:
        classes, splits = _TWO, find_splits(root)
    items = [item for split in splits.values() for item in split]
    if most is not None:
        items = items[:: max(len(items) // most, 1)][:most]
    return [
        LabelledImage(f"{number:05d}.png", read_labels(item, classes))
        for number, item in enumerate(items)
    ], classes


def measure(root: Path, most: int | None, formats: list[str]) -> dict[str, dict[str, float]]:
    """Write and read back in some formats."""
    images, classes = read_images(root, most)
    found: dict[str, dict[str, float]] = {}
    for written in formats:
        name, write = WRITERS[written]
        with tempfile.TemporaryDirectory() as folder:
            source = write(Path(folder) / "export", images, classes)
            convert_annotations(name, source, Path(folder) / "out", unlabelled="ignore")
            read = read_back(Path(folder) / "out", classes)
        read = {Path(stem).name: labels for stem, labels in read.items()}
        same = [read[Path(file).stem] == labels for file, labels in images]
        labelled = [labels != classes.ignore_index for _, labels in images]
        equal = [each.mean() for each in same]
        of_labelled = [each[where].mean() for each, where in zip(same, labelled, strict=True)]
        found[written] = {
            "equal": float(np.mean(equal)),
            "equal_of_worst_image": float(min(equal)),
            "equal_of_labelled": float(np.mean(of_labelled)),
            "images": len(images),
        }
        print(root.name, written, found[written], flush=True)
    return found


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the results as the table of the page."""
    heading = " | ".join(
        f"{name} ({next(iter(rows.values()))['images']} images)" for name, rows in results.items()
    )
    lines = [f"| masks written as | {heading} |", "|---" * (len(results) + 1) + "|"]
    for written in WRITERS:
        cells = [_cell(rows[written]) for rows in results.values()]
        lines.append(f"| {written} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict[str, float]) -> str:
    if row["equal"] == 1:
        return "100"
    return f"{100 * row['equal']:.2f} (of labelled pixels {100 * row['equal_of_labelled']:.2f})"


def main() -> None:
    """Measure, write the JSON, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("roots", nargs="+", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--written", nargs="+", default=list(WRITERS), choices=list(WRITERS))
    given = parser.parse_args()
    results = load(RESULTS, {})
    for root in given.roots:
        results.setdefault(root.name, {}).update(measure(root, given.images, given.written))
    save(RESULTS, results, precision="integers")
    print(table(results))


if __name__ == "__main__":
    main()
