"""Minutes, speed and memory of the runs that made `street` and `street-tiny`, from their logs.

    python benchmarks/training_logs.py

reads `results/NAME-log.jsonl` and writes `results/training-logs.json`.
"""

import json
from pathlib import Path
from statistics import median

from benchmarks.results_file import save

RESULTS = Path(__file__).resolve().parents[1] / "results"
CROPS_PER_STEP = {"street-linear": 8, "street-class-tokens": 8, "street": 4, "street-tiny": 4}
RAN = {"date": "2026-11-26", "machine": "two cores of an Intel Xeon with AMX, partly busy"}


def main() -> None:
    """Sum up each log."""
    totals = {name: _total(name, crops) for name, crops in CROPS_PER_STEP.items()}
    save(RESULTS / "training-logs.json", totals, "bfloat16", RAN)


def _total(name: str, crops: int) -> dict[str, float]:
    lines = (RESULTS / f"{name}-log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    speeds = [row["train/images_per_second"] for row in rows]
    steps = [row["step"] for row in rows]
    taken = [step - before for before, step in zip([0, *steps[:-1]], steps, strict=True)]
    seconds = sum(each * crops / speed for each, speed in zip(taken, speeds, strict=True))
    return {
        "steps": steps[-1],
        "minutes": round(seconds / 60, 1),
        "images_per_s": round(median(speeds), 2),
        "memory_gib": round(max(row["train/memory_gib"] for row in rows), 2),
    }


if __name__ == "__main__":
    main()
