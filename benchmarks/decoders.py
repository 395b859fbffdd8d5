"""Every decoder, and how much of the encoder learns: one recipe and budget, CamVid, one table.

    python benchmarks/decoders.py data/camvid --encoder dinov2-small

Each row is the recipe `street-linear` with the changes it names, trained by `segmenter train` for
as many steps as all others (train and val, 468 images), scored on the test images, and timed by
`segmenter benchmark`. Runs lie in `runs/decoders-NAME`: what is trained is not trained again, and
what was broken off goes on. docs/experiments/results.md holds the table.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import Item, open_folder, read_sample
from segmenter.evaluation.metrics import ConfusionMatrix
from segmenter.inference import Predictor

_RESAMPLES = 2000
_SIZE = (644, 859)  # what the recipe makes of an image of 360 x 480
_FROZEN = ("--optimizer.frozen_blocks", "all", "--model.drop_path", "0")
RUNS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "mask": ("--model.decoder", "mask"),
    "multi-linear": ("--model.decoder", "multi-linear"),
    "atm": ("--model.decoder", "atm"),
    "joined-class-tokens": ("--model.decoder", "joined-class-tokens"),
    "joined-class-tokens-3-blocks": (
        "--model.decoder",
        "joined-class-tokens",
        "--model.decoder.blocks",
        "3",
    ),
    "linear-frozen": _FROZEN,
    "multi-linear-frozen": ("--model.decoder", "multi-linear", *_FROZEN),
    "linear-last-4-blocks": ("--optimizer.frozen_blocks", "8"),
    "linear-patch-16": ("--model.patch_size", "16"),
}
"""Name of a row -> what it changes in the recipe `street-linear`."""


class Row(NamedTuple):
    """What is printed of one run."""

    name: str
    miou: float
    low: float
    high: float
    """Of the 95 % interval over images (bootstrap)."""
    pole: float
    images_per_second: float
    giga_flops: float
    mega_bytes: float
    """Most memory while labelling one image."""


def main() -> None:
    """Train what is not trained yet, score all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="the CamVid folder; see docs/how-to/camvid.md")
    parser.add_argument("--encoder", required=True, help="DINOv2 ViT-S/14: a file, or timm:NAME")
    parser.add_argument("--steps", type=int, default=1100, help="updates of each run")
    parser.add_argument("--photos", type=int, help="test images to score; without it, all")
    parser.add_argument("--precision", default="float32", help="arithmetic of scores and times")
    parser.add_argument("--only", nargs="+", choices=sorted(RUNS), help="these rows")
    given = parser.parse_args()
    folder = open_folder(Path(given.data))
    test = folder.items("test")
    count = given.photos or len(test)
    scored = [test[number * len(test) // count] for number in range(count)]
    print(f"{given.steps} steps each; {len(scored)} test images; {given.precision}.\n")
    print("| run | mIoU (95 %) | pole IoU | images/s | GFLOPs | memory, MB |")
    print("|---|---|---|---|---|---|")
    for name in given.only or RUNS:
        model = train(name, given)
        row = measure(name, model, scored, folder.classes, given.precision)
        print(
            f"| {row.name} | {row.miou:.4f} ({row.low:.3f} to {row.high:.3f}) | {row.pole:.3f} | "
            f"{row.images_per_second:.2f} | {row.giga_flops:.0f} | {row.mega_bytes:.0f} |",
            flush=True,
        )


def train(name: str, given: argparse.Namespace) -> Path:
    """Train one row, or go on where it was broken off; gives the model's file."""
    run = Path("runs") / f"decoders-{name}"
    model = run / "last.safetensors"
    if not model.exists():
        arguments = ["--data", given.data, "--name", run.name, "--model.weights", given.encoder]
        arguments += ["--schedule.steps", str(given.steps), *RUNS[name]]
        arguments += ["--schedule.warmup_steps", str(given.steps // 20)]
        resume = ["--resume"] if (run / "checkpoints").exists() else []
        _segmenter("train", "street-linear", *arguments, *resume)
    return model


def measure(name: str, model: Path, items: list[Item], classes: Classes, precision: str) -> Row:
    """Score a model on images, and time it on one of their size."""
    predictor = Predictor(model, precision=precision)
    matrices = []
    for item in items:
        sample = read_sample(item, classes)
        matrix = ConfusionMatrix(len(classes), classes.ignore_index)
        matrix.add(sample.labels, predictor(sample.image))
        matrices.append(matrix.counts)
    counts = np.stack(matrices)
    draws = np.random.default_rng(0).integers(0, len(items), (_RESAMPLES, len(items)))
    means = [np.nanmean(ious(counts[draw].sum(axis=0))) for draw in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    found = ious(counts.sum(axis=0))
    options = ["--size", *map(str, _SIZE), "--runtime", "torch", "--precision", precision]
    timed = json.loads(_segmenter("benchmark", str(model), *options, "--json"))
    return Row(
        name,
        float(np.nanmean(found)),
        float(low),
        float(high),
        float(found[classes.names.index("pole")]),
        timed["images_per_second"],
        timed["flops"] / 1e9,
        timed["peak_memory_bytes"] / 1e6,
    )


def ious(counts: Int64[ndarray, "classes classes"]) -> Float64[ndarray, " classes"]:
    """IoU of each class; NaN where it is in neither truth nor prediction."""
    right = counts.diagonal().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return right / (counts.sum(axis=0) + counts.sum(axis=1) - right)


def _segmenter(*arguments: str) -> str:
    """Run a command; what it says but does not print as its result goes on to the terminal."""
    command = [sys.executable, "-m", "segmenter", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
