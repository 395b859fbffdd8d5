"""What the start of a training is worth: one recipe and budget from two starts, on one data set.

    python benchmarks/starts.py FOLDER --out runs/starts

Trains the recipe `finetune` from each start with the same seed, on images at one size, and compares
the two models on the split `val` (`segmenter compare`: paired intervals over images). A training
that was broken off resumes, and what is trained is not trained again. The setting and the scores
are written to `OUT/starts.json`; docs/reference/licences.md holds the table.

    python benchmarks/starts.py data/camvid --drive Seq05VD --untrained street --out runs/drive

takes one drive of CamVid's split `test` instead, which `street` has not seen: its first frames are
trained on, its last third is val, and a tenth between them is left out, because neighbouring frames
look alike. `--untrained` scores a start as it is, too.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from results_file import save

_STARTS = ("dinov2-small", "street")


def main() -> None:
    """Train what is not trained yet, compare, write and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a data set with the splits train and val")
    parser.add_argument("--drive", help="how the images of one drive of the split test begin")
    parser.add_argument("--untrained", nargs="*", default=(), help="starts to score as they are")
    parser.add_argument("--out", type=Path, default=Path("runs/starts"), help="gets all files")
    parser.add_argument("--starts", nargs=2, default=_STARTS, help="bundled names, or files")
    parser.add_argument("--steps", type=int, default=150, help="updates of each run")
    parser.add_argument("--crop", type=int, default=280, help="side of a crop, in pixels")
    parser.add_argument("--side", type=int, default=420, help="short side of the images, in pixels")
    parser.add_argument("--batch-size", type=int, default=4, help="crops in an update")
    parser.add_argument("--seed", type=int, default=0, help="seed of both runs")
    given = parser.parse_args()
    if given.drive:
        given.data = write_drive(given.data, given.drive, given.out / given.drive)
    models = [str(train(start, given)) for start in given.starts]
    result = given.out / "starts.json"
    report = given.out / "compare.json"
    segmenter("compare", *models, given.data, "--split", "val", "--json", report, "--overwrite")
    found = summary(json.loads(report.read_text(encoding="utf-8")), given)
    found["untrained"] = {start: untrained_score(start, given) for start in given.untrained}
    save(result, found, precision="auto")
    print(json.dumps(found, indent=1))


def write_drive(data: Path, drive: str, folder: Path) -> Path:
    """Write one drive of the split test as a data set with train and val, in the order of time."""
    images = sorted((data / "images" / "test").glob(f"{drive}*"))
    first_val = len(images) - len(images) // 3
    splits = {"train": images[: first_val - len(images) // 10], "val": images[first_val:]}
    for split, chosen in splits.items():
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for image in chosen:
            (mask,) = (data / "masks" / "test").glob(f"{image.stem}.*")
            shutil.copy(image, folder / "images" / split)
            shutil.copy(mask, folder / "masks" / split)
    shutil.copy(data / "classes.yaml", folder)
    return folder


def train(start: str, given: argparse.Namespace) -> Path:
    """Train from one start, or resume where it was broken off; returns the model's file."""
    run = given.out / Path(start).stem
    model = run / "last.safetensors"
    if not model.exists():
        resume = ["--resume"] if (run / "checkpoints").exists() else []
        segmenter(
            *("train", "finetune", "--data", given.data, "--from", start, "--out", run),
            *("--schedule.steps", given.steps, "--schedule.warmup_steps", given.steps // 10),
            *("--augment.crop_size", given.crop, "--augment.scale_base", given.side),
            *("--protocol.short_side", given.side, "--batch_size", given.batch_size),
            *("--seed", given.seed, "--save_every", 25),
            *("--precision", "auto", "--data.val", "null", "--workers", 1, *resume),
        )
    return model


def untrained_score(start: str, given: argparse.Namespace) -> float:
    """Return the mIoU on val, in 0 to 1, of a start that has a decoder for these classes."""
    report = given.out / f"untrained-{Path(start).stem}.json"
    options = ("--split", "val", "--short-side", given.side, "--json", report, "--overwrite")
    segmenter("evaluate", start, given.data, *options)
    return json.loads(report.read_text(encoding="utf-8"))["miou"]


def summary(compared: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Return the setting and the scores, in 0 to 1."""
    starts = dict(zip(given.starts, ("a", "b"), strict=True))
    means = ("miou", "pixel_accuracy")
    return {
        "data": given.data.name,
        "train_images": len(list((given.data / "images" / "train").iterdir())),
        "steps": given.steps,
        "batch_size": given.batch_size,
        "crop": given.crop,
        "short_side": given.side,
        "seed": given.seed,
        "num_images": compared["num_images"],
        "starts": {
            start: {mean: compared[mean][side] for mean in means} for start, side in starts.items()
        },
        "difference": {mean: compared[mean]["difference"] for mean in means},
        "interval_of_the_difference": compared["intervals"]["miou"],
        "classes": {
            name: dict(zip(given.starts, (pair["a"], pair["b"]), strict=True))
            for name, pair in compared["classes"].items()
        },
    }


def segmenter(*arguments: object) -> None:
    """Run a command of the package.

    Raises:
        CalledProcessError: If it fails.
    """
    command = [sys.executable, "-m", "segmenter", *map(str, arguments)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
