"""Compare the speed of two checkouts of this package, side by side: one table.

    git worktree add ../old v0.1.0
    python benchmarks/versions.py ../old . --rounds 7

Each measure runs in a process of its own with one checkout first on the path. Rounds alternate, and
the order of the two changes from round to round. Where a round is one image, two processes stay and
take turns, image by image: a machine whose speed drifts over minutes slows both alike. The table
holds medians of the seconds, and the median, lowest and highest of the ratios of each round (new
divided by old: above 1 is slower).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples"
TRAINED_SIZE = 256  # pixels, of the images that are trained on
FIRST_LABEL = """
import numpy as np
from segmenter import Predictor
Predictor("street")(np.zeros((360, 480, 3), np.uint8))
"""
LABELS = """
import sys, time
import numpy as np
from segmenter import Predictor
predictor = Predictor("street", runtime={runtime!r}, precision="float32")
image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
predictor(image)
for _ in sys.stdin:
    start = time.process_time()
    predictor(image)
    print(time.process_time() - start, flush=True)
"""
STEPS = """
import json, pathlib, runpy, sys
out = pathlib.Path({out!r})
sys.argv = ["segmenter", "train", "--data", {data!r}, "--out", str(out), "--device", "cpu"]
settings = dict(precision="float32", log_every=4, evaluate_every=16, save_every=16)
nested = {{"augment.crop_size": 256, "schedule.steps": 16, "schedule.warmup_steps": 2}}
for name, value in (settings | nested).items():
    sys.argv += ["--" + name, str(value)]
try:
    runpy.run_module("segmenter", run_name="__main__")
except SystemExit:
    pass
rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
rates = [row[name] for row in rows if (name := "train/images_per_second") in row][1:]
print(4 / (sum(rates) / len(rates)))
"""
SERVICE = """
import sys, time
sys.path.insert(0, {benchmarks!r})
from segmenter.drawing import encode_jpeg
from serving import label_over_http, make_photo, serving
import httpx
bodies = [encode_jpeg(make_photo(644, seed)) for seed in range(32)]
with serving("street", "auto", "auto") as (url, pid):
    with httpx.Client(base_url=url, timeout=120, limits=httpx.Limits(max_connections=16)) as client:
        label_over_http(client, bodies[:16], 16)
        start = time.perf_counter()
        label_over_http(client, bodies, 16)
        print((time.perf_counter() - start) / len(bodies))
"""


@dataclass
class Checkout:
    """One of the two versions, and a folder for what it keeps."""

    root: Path
    kept: Path

    @property
    def environment(self) -> dict[str, str]:
        """Puts the checkout first on the path, with a cache of its own."""
        return os.environ | {
            "PYTHONPATH": str(self.root / "src"),
            "XDG_CACHE_HOME": str(self.kept / "cache"),
        }

    def run(self, *arguments: str) -> tuple[float, str]:
        """Run Python; give the CPU seconds of it and its children, and what it prints."""
        before = os.times()
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.kept,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        after = os.times()
        spent = after.children_user + after.children_system
        return spent - before.children_user - before.children_system, done.stdout

    def stay(self, script: str) -> subprocess.Popen:
        """Start a script that prints seconds for each line that it gets."""
        return subprocess.Popen(
            [sys.executable, "-c", script],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


@dataclass
class Measure:
    """What is measured, and how: a function of a checkout that returns seconds."""

    name: str
    seconds: Callable[[Checkout], float]
    rounds_factor: int = 1
    """How many rounds are taken for each that is asked for."""
    olds: list[float] = field(default_factory=list)
    news: list[float] = field(default_factory=list)

    def row(self) -> str:
        """A row of the table."""
        ratios = sorted(new / old for old, new in zip(self.olds, self.news, strict=True))
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        medians = f"{median(self.olds):.3f} | {median(self.news):.3f}"
        return f"| {self.name} | {medians} | {median(ratios):.3f} | {spread} |"


def whole_process(*arguments: str) -> Callable[[Checkout], float]:
    """Measure the CPU seconds of a process."""
    return lambda checkout: checkout.run(*arguments)[0]


def printed(script: str, **values: str) -> Callable[[Checkout], float]:
    """Measure what a script prints last."""

    def run(checkout: Checkout) -> float:
        with tempfile.TemporaryDirectory(dir=checkout.kept) as folder:
            text = script.format(out=f"{folder}/run", **values)
            return float(checkout.run("-c", text)[1].split()[-1])

    return run


def taking_turns(script: str, **values: str) -> Callable[[Checkout], float]:
    """Measure what a process that stays prints for each line."""
    running: dict[Path, subprocess.Popen] = {}

    def run(checkout: Checkout) -> float:
        if checkout.root not in running:
            running[checkout.root] = checkout.stay(script.format(**values))
        process = running[checkout.root]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("next\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return run


def write_data(root: Path) -> None:
    """Write a small data set: 8 images of blocks of four colours, and their masks."""
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (4, 3), dtype=np.uint8)
    for folder in ("images/train", "masks/train", "images/val", "masks/val"):
        (root / folder).mkdir(parents=True)
    for number in range(8):
        split = "val" if number < 2 else "train"
        cells = rng.integers(0, 4, (8, 8), dtype=np.uint8)
        mask = cells.repeat(TRAINED_SIZE // 8, 0).repeat(TRAINED_SIZE // 8, 1)
        cv2.imwrite(str(root / "images" / split / f"{number}.png"), colors[mask])
        cv2.imwrite(str(root / "masks" / split / f"{number}.png"), mask)
    lines = [f"- {{name: c{i}, color: {c.tolist()}, values: [{i}]}}" for i, c in enumerate(colors)]
    (root / "classes.yaml").write_text("\n".join(["classes:", *lines, ""]))


def measures(data: Path) -> dict[str, Measure]:
    """Name what can be measured."""
    predict = ["-m", "segmenter", "predict", str(EXAMPLES), "--out", "out", "--overwrite"]
    benchmarks = str(Path(__file__).parent)
    return {
        "help": Measure("`--help`, CPU s", whole_process("-m", "segmenter", "--help")),
        "first": Measure("first label, warm cache, CPU s", whole_process("-c", FIRST_LABEL)),
        "predict": Measure("`predict examples`, CPU s", whole_process(*predict)),
        "openvino": Measure(
            "512 x 512, OpenVINO float32, CPU s", taking_turns(LABELS, runtime="openvino"), 6
        ),
        "torch": Measure(
            "512 x 512, torch float32, CPU s", taking_turns(LABELS, runtime="torch"), 6
        ),
        "step": Measure("training step, float32, s", printed(STEPS, data=str(data))),
        "service": Measure(
            "service, 16 clients, s an image", printed(SERVICE, benchmarks=benchmarks)
        ),
    }


def main() -> None:
    """Run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="names of measures, with commas between")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        write_data(kept / "data")
        sides = []
        for root, name in [(asked.old, "old"), (asked.new, "new")]:
            (kept / name).mkdir()
            sides.append(Checkout(root.resolve(), kept / name))
            sides[-1].run("-c", FIRST_LABEL)  # fills the cache
        chosen = measures(kept / "data")
        chosen = {name: chosen[name] for name in (asked.only or ",".join(chosen)).split(",")}
        print("| | old | new | ratio | of the rounds |", "|---|---|---|---|---|", sep="\n")
        for measure in chosen.values():
            for number in range(asked.rounds * measure.rounds_factor):
                pairs = [(sides[0], measure.olds), (sides[1], measure.news)]
                for checkout, results in pairs if number % 2 else reversed(pairs):
                    results.append(measure.seconds(checkout))
            print(measure.row(), flush=True)


if __name__ == "__main__":
    main()
