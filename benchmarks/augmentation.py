"""Augmentation for images without an up: a preset against the mirror image, from one budget.

    python benchmarks/augmentation.py FOLDER --out runs/augmentation

Cuts the images of `FOLDER/images` and `FOLDER/masks` (0: membrane, 255: cell) into folds. For each
fold, and each way to augment, trains the recipe `finetune` on the other folds, with the same seed,
crops and steps, and evaluates it on the fold, once as it is and once with `symmetry d4`. Each image
is scored once for each way, by a model that did not see it. Scores are those of all images
together, with intervals by the bootstrap over images; differences are paired.

A run that is done is not repeated, and one that was broken off resumes. `results/NAME.json` gets
the numbers after each fold that all ways have done; docs/how-to/augment.md has the table.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from results_file import save

import segmenter
from segmenter.classes import Classes, ClassInfo
from segmenter.data.folder import open_folder
from segmenter.evaluation.bootstrap import ImageCounts, Intervals
from segmenter.evaluation.evaluate import evaluate
from segmenter.inference import Predictor

CLASSES = Classes(
    classes=(
        ClassInfo(name="membrane", color=(40, 40, 40), values=(0,)),
        ClassInfo(name="cell", color=(230, 190, 90), values=(255,)),
    )
)
SYMMETRIES = ("none", "d4")


class Way(NamedTuple):
    """A way to train: where it starts, and how crops are augmented."""

    start: str
    augment: dict[str, Any]


WAYS = {
    "mirror": Way("dinov2-small", {}),
    "microscopy": Way("dinov2-small", {"preset": "microscopy"}),
    "street": Way("street", {}),
}
"""`mirror`: the recipe as it is, whose only operation is the mirror image, left to right."""
PAIRS = (
    ("mirror none", "microscopy none"),
    ("mirror none", "mirror d4"),
    ("microscopy none", "microscopy d4"),
    ("mirror none", "microscopy d4"),
    ("mirror d4", "microscopy d4"),
    ("mirror none", "street none"),
)


def main() -> None:
    """Train and evaluate what is missing, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with images and masks")
    parser.add_argument("--out", type=Path, default=Path("runs/augmentation"), help="gets the runs")
    parser.add_argument("--results", type=Path, default=Path("results/membrane-augmentation.json"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["mirror", "microscopy"])
    parser.add_argument("--folds", type=int, default=5, help="parts that the images are cut into")
    parser.add_argument("--run-folds", type=int, help="folds to train on, the first ones; or all")
    parser.add_argument("--steps", type=int, default=100, help="updates of each run")
    parser.add_argument("--crop", type=int, default=252, help="side of a crop, in pixels")
    parser.add_argument("--side", type=int, default=560, help="short side of the images, in pixels")
    given = parser.parse_args()
    roots = write_folds(given.data, given.out, given.folds)
    found: dict[str, list[np.ndarray]] = {}
    for number, root in enumerate(roots[: given.run_folds]):
        for name in given.ways:
            model = train(root, given.out / f"{name}-{number}", WAYS[name], given)
            for symmetry in SYMMETRIES:
                counts = image_counts(model, root, symmetry)
                found.setdefault(f"{name} {symmetry}", []).append(counts)
        save(given.results, summary(found, given), precision="auto")
    print(json.dumps(summary(found, given), indent=1))


def write_folds(data: Path, out: Path, num_folds: int) -> list[Path]:
    """Write a data set with the splits train and test for each fold."""
    images = sorted(path for path in (data / "images").iterdir())
    order = np.random.default_rng(0).permutation(len(images))
    roots = [out / f"fold-{number}" for number in range(num_folds)]
    for number, root in enumerate(roots):
        if (root / "classes.yaml").exists():
            continue
        for place, index in enumerate(order):
            split = "test" if place % num_folds == number else "train"
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                source = data / kind / images[index].name
                shutil.copyfile(source, root / kind / split / source.name)
        (root / "classes.yaml").write_text(CLASSES.to_yaml())
    return roots


def train(root: Path, run: Path, way: Way, given: argparse.Namespace) -> Path:
    """Train one way on one fold, or resume; returns the model's file."""
    model = run / "last.safetensors"
    if not model.exists():
        segmenter.train(
            data={"root": str(root), "val": None},
            start=way.start,
            out=run,
            augment={"crop_size": given.crop, "scale_base": given.side, **way.augment},
            schedule={"steps": given.steps, "warmup_steps": given.steps // 10},
            protocol={"short_side": given.side, "window": given.side, "stride": given.side},
            ema_decay=0.0,
            precision="auto",
            workers=1,
            save_every=25,
            resume=(run / "checkpoints").exists(),
        )
    return model


def image_counts(model: Path, root: Path, symmetry: str) -> np.ndarray:
    """Return the pixel counts of each test image; they are kept beside the model."""
    kept = model.with_name(f"counts-{symmetry}.json")
    if not kept.exists():
        data = open_folder(root)
        predictor = Predictor(model, symmetry=symmetry, precision="auto")
        found = evaluate(predictor, data.items("test"), data.classes)
        kept.write_text(json.dumps(found.counts.counts.tolist()))
    return np.array(json.loads(kept.read_text()))


def summary(found: dict[str, list[np.ndarray]], given: argparse.Namespace) -> dict[str, Any]:
    """Return the setting, the scores in 0 to 1, and the differences with their intervals."""
    pooled = {
        name: ImageCounts(np.concatenate(folds), "skip", None) for name, folds in found.items()
    }
    scored = {name: score(counts) for name, counts in pooled.items()}
    return {
        "data": given.data.name,
        "folds": len(next(iter(found.values()))),
        "num_images": len(next(iter(pooled.values())).counts),
        "steps": given.steps,
        "batch_size": 4,
        "crop": given.crop,
        "short_side": given.side,
        "scores": scored,
        "differences": [
            {
                "from": a,
                "to": b,
                "miou": scored[b]["miou"] - scored[a]["miou"],
                "membrane": scored[b]["membrane"] - scored[a]["membrane"],
                **intervals(pooled[b].intervals_over(pooled[a])),
                "folds_better": sum(
                    score_counts(two)["miou"] > score_counts(one)["miou"]
                    for one, two in zip(found[a], found[b], strict=True)
                ),
            }
            for a, b in PAIRS
            if a in found and b in found
        ],
    }


def score(counts: ImageCounts) -> dict[str, Any]:
    """Return the scores of all images together, with intervals."""
    return score_counts(counts.counts) | intervals(counts.intervals())


def score_counts(counts: np.ndarray) -> dict[str, float]:
    """Return mIoU, IoU of membranes, and pixel accuracy, each from 0 to 1."""
    right, true, predicted = counts.sum(axis=0)
    ious = right / (true + predicted - right)
    return {
        "miou": float(ious.mean()),
        "membrane": float(ious[0]),
        "pixel_accuracy": float(right.sum() / true.sum()),
    }


def intervals(found: Intervals | None) -> dict[str, Any]:
    """Return the ends of the intervals of mIoU and of the IoU of membranes."""
    if found is None:
        return {}
    return {"miou_interval": found.means["miou"], "membrane_interval": found.ious[0]}


if __name__ == "__main__":
    main()
