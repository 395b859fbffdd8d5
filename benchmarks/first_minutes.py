"""How long the first steps take: from a clone to a labelled image, a trained model and its score.

    python benchmarks/first_minutes.py DATA --out runs/first-minutes

Takes 40 images with masks, evenly from the split `train` of DATA, as a folder of one's own. Then it
clones this repository, installs the package into an empty environment, and runs the commands of the
tutorial in their order. Seconds and lines of output of each command are written to
`OUT/first-minutes.json`, and what each prints to `OUT/NUMBER-NAME.txt`.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from results_file import save

REPOSITORY = Path(__file__).parents[1]
MILESTONES = {
    "predict": "the first labels",
    "train": "a model trained on 40 own images",
    "evaluate": "its score",
}
"""What is there after a command of the list."""


def main() -> None:
    """Run the commands, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a data set with `images/train` and `masks/train`")
    parser.add_argument("--out", type=Path, default=Path("runs/first-minutes"), help="gets all")
    parser.add_argument("--images", type=int, default=40, help="images of the own folder")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True)
    write_folder(given.data, out / "mine", given.images)
    rows = []
    for number, (name, command) in enumerate(commands(out), start=1):
        rows.append(row := timed(name, command, out / f"{number}-{name}.txt"))
        print(f"{row['seconds']:8.1f} s  {row['lines']:4d} lines  {name}", flush=True)
    result = {
        "images": given.images,
        "machine": {"system": platform.system(), "cpu_cores": os.cpu_count()},
        "python": platform.python_version(),
        "commands": rows,
        "milestones": milestones(rows),
    }
    save(out / "first-minutes.json", result, precision="auto")


def write_folder(data: Path, folder: Path, num_images: int) -> None:
    """Copy `num_images` images with their masks, and the classes, into an ordinary folder."""
    images = sorted((data / "images" / "train").iterdir())
    chosen = images[:: len(images) // num_images][:num_images]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for image in chosen:
        shutil.copy(image, folder / "images" / image.name)
        (mask,) = (data / "masks" / "train").glob(f"{image.stem}.*")
        shutil.copy(mask, folder / "masks" / mask.name)
    shutil.copy(data / "classes.yaml", folder / "classes.yaml")


def commands(out: Path) -> list[tuple[str, list[str]]]:
    """Return the names and the commands, in their order; each runs in `out`."""
    clone, bin_folder = out / "clone", out / "environment" / "bin"
    segmenter = str(bin_folder / "segmenter")
    return [
        ("clone", ["git", "clone", "--quiet", "--depth", "1", REPOSITORY.as_uri(), str(clone)]),
        ("environment", [sys.executable, "-m", "venv", str(out / "environment")]),
        ("install", [str(bin_folder / "pip"), "install", "--quiet", str(clone)]),
        ("predict", [segmenter, "predict", str(clone / "examples" / "road.jpg"), "--out", "first"]),
        ("check", [segmenter, "check", "mine"]),
        ("train", [segmenter, "train", "--data", "mine", "--out", "run"]),
        ("evaluate", [segmenter, "evaluate", "run/best.safetensors", "mine", "--split", "val"]),
    ]


def milestones(rows: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Add up minutes, commands and lines of output from the clone to each milestone."""
    found = []
    for number, row in enumerate(rows, start=1):
        if row["name"] in MILESTONES:
            so_far = rows[:number]
            found.append(
                {
                    "reached": MILESTONES[row["name"]],
                    "minutes": round(sum(each["seconds"] for each in so_far) / 60, 1),
                    "commands": number,
                    "lines": sum(each["lines"] for each in so_far),
                }
            )
    return found


def timed(name: str, command: list[str], log: Path) -> dict[str, Any]:
    """Run one command, keep what it prints; returns its seconds and lines of output."""
    began = time.perf_counter()
    with log.open("w", encoding="utf-8") as printed:
        done = subprocess.run(command, cwd=log.parent, stdout=printed, stderr=subprocess.STDOUT)
    seconds = round(time.perf_counter() - began, 1)
    lines = log.read_text(encoding="utf-8").splitlines()
    if done.returncode != 0:
        sys.exit(f"{name} ended with status {done.returncode}:\n" + "\n".join(lines[-5:]))
    minutes = round(seconds / 60, 1)
    return {"name": name, "seconds": seconds, "minutes": minutes, "lines": len(lines)}


if __name__ == "__main__":
    main()
