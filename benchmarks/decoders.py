"""Every decoder, and how much of the encoder learns: one recipe and budget, CamVid, one table.

    python benchmarks/decoders.py data/camvid --encoder dinov2-small --out results/decoders.json
    python benchmarks/decoders.py data/camvid --encoder dinov2-small --steps 100 --half --every 3 \
        --only linear mask joined-class-tokens eomt pmt-frozen --out results/decoders-half.json

Each row is the recipe `street-linear` with the changes it names, trained by `segmenter train` for
as many steps as all others (train and val, 468 images), scored on the test images, and timed by
`segmenter benchmark` once all are trained. Runs lie in `runs/`: what is trained is not trained
again, and what was broken off resumes. docs/experiments/results.md holds the tables.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from results_file import load, save

from segmenter.classes import Classes
from segmenter.data.folder import Item, open_folder, read_sample
from segmenter.evaluation.metrics import ConfusionMatrix
from segmenter.inference import Predictor

_RESAMPLES = 2000
_ROUNDS = 5
_NOT_TIMED = {"images_per_cpu_s": None, "gflops": None, "memory_mb": None}
_SIZE = ("644", "859")  # what the recipe makes of an image of 360 x 480
_HALF_SIZE = ("322", "429")
_FROZEN = ("--optimizer.frozen_blocks", "all", "--model.drop_path", "0")
_QUERIES = ("--model.decoder.doublings", "1", "--loss.queries.points", "2048")  # patches of 14
RUNS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "mask": ("--model.decoder", "mask"),
    "multi-linear": ("--model.decoder", "multi-linear"),
    "atm": ("--model.decoder", "atm"),
    "joined-class-tokens": ("--model.decoder", "joined-class-tokens"),
    "joined-class-tokens-3-blocks": (
        *("--model.decoder", "joined-class-tokens"),
        *("--model.decoder.blocks", "3"),
    ),
    "eomt": ("--model.decoder", "eomt", *_QUERIES),
    "pmt-frozen": ("--model.decoder", "pmt", *_QUERIES, *_FROZEN),
    "linear-frozen": _FROZEN,
    "multi-linear-frozen": ("--model.decoder", "multi-linear", *_FROZEN),
    "linear-last-4-blocks": ("--optimizer.frozen_blocks", "8"),
    "linear-patch-16": ("--model.patch_size", "16"),
}
"""Name of a row -> what it changes in the recipe `street-linear`."""
HALF = (
    *("--augment.crop_size", "154", "--augment.scale", "[0.6, 1.3]", "--batch_size", "4"),
    *("--protocol.short_side", "322"),
)
"""Half of the image size, a quarter of the crop, and half as many crops: a tenth of the work."""


class Score(NamedTuple):
    """The score of a model; shares of 1."""

    miou: float
    low: float
    high: float
    """Of the 95 % interval over images (bootstrap)."""
    ious: dict[str, float]


def main() -> None:
    """Train what is not trained yet, score all, time all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="the CamVid folder; see docs/how-to/camvid.md")
    parser.add_argument("--encoder", required=True, help="DINOv2 ViT-S/14: a file, or timm:NAME")
    parser.add_argument("--steps", type=int, default=1100, help="updates of each run")
    parser.add_argument("--every", type=int, default=1, help="score every so many-th test image")
    parser.add_argument("--half", action="store_true", help="train and score at half the size")
    parser.add_argument("--precision", default="float32", help="arithmetic of scores and times")
    parser.add_argument("--only", nargs="+", choices=sorted(RUNS), help="these rows")
    parser.add_argument("--out", type=Path, required=True, help="the file of results")
    given = parser.parse_args()
    folder = open_folder(Path(given.data))
    test, rows = folder.items("test")[:: given.every], load_rows(given.out)
    names = given.only or list(RUNS)
    models = {}
    for name in names:
        changes = [*RUNS[name], *(HALF if given.half else ())]
        run = f"decoders-{name}-{given.steps}" + ("-half" if given.half else "")
        models[name] = train(run, given.data, given.encoder, given.steps, changes)
        if name not in rows:
            found = score(models[name], test, folder.classes, given.precision)
            facts = {"run": name, "steps": given.steps, "images": len(test)} | _NOT_TIMED
            rows[name] = facts | found._asdict()
            save_rows(given.out, rows, given.precision)
    for name in names:
        size = _HALF_SIZE if given.half else _SIZE
        rows[name] |= timed(models[name], size, given.precision)
        print(json.dumps({**rows[name], "ious": None}), flush=True)
        save_rows(given.out, rows, given.precision)


def train(name: str, data: str, weights: str, steps: int, changes: list[str]) -> Path:
    """Train a run, or resume it where it was broken off; return the model's file."""
    run = Path("runs") / name
    model = run / "last.safetensors"
    if not model.exists():
        arguments = ["--data", data, "--out", str(run), "--model.weights", weights]
        arguments += ["--schedule.steps", str(steps), "--schedule.warmup_steps", str(steps // 20)]
        arguments += ["--save_every", "100", "--workers", "0", *changes]
        resume = ["--resume"] if (run / "checkpoints").exists() else []
        command("train", "street-linear", *arguments, *resume)
    return model


def load_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file of results by their names."""
    return {row["run"]: row for row in load(path, {"rows": []})["rows"]}


def save_rows(path: Path, rows: dict[str, dict[str, Any]], precision: str) -> None:
    """Write rows as a file of results."""
    save(path, {"rows": list(rows.values())}, precision)


def score(model: Path, items: list[Item], classes: Classes, precision: str) -> Score:
    """Score a model on images, by its own protocol."""
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
    by_class = dict(zip(classes.names, found.tolist(), strict=True))
    return Score(float(np.nanmean(found)), float(low), float(high), by_class)


def timed(model: Path, size: tuple[str, str], precision: str) -> dict[str, Any]:
    """Time a model on one image of a height and width, in torch.

    Seconds are those of all threads of the process, so that other work on the machine does not
    count.
    """
    options = ["--size", *size, "--runtime", "torch", "--precision", precision]
    found = json.loads(command("benchmark", str(model), *options, "--json"))
    predictor, seconds = Predictor(model, precision=precision), []
    image = np.random.default_rng(0).integers(0, 256, (*map(int, size), 3), np.uint8)
    for _ in range(_ROUNDS):
        start = time.process_time()
        predictor(image)
        seconds.append(time.process_time() - start)
    return {
        "images_per_cpu_s": 1 / min(seconds),
        "gflops": found["flops"] / 1e9,
        "memory_mb": found["peak_memory_bytes"] / 1e6,
    }


def ious(counts: Int64[ndarray, "classes classes"]) -> Float64[ndarray, " classes"]:
    """IoU of each class; NaN where it is in neither truth nor prediction."""
    right = counts.diagonal().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return right / (counts.sum(axis=0) + counts.sum(axis=1) - right)


def command(*arguments: str) -> str:
    """Run a command; what it says but does not print as its result goes on to the terminal."""
    whole = [sys.executable, "-m", "segmenter", *arguments]
    return subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
