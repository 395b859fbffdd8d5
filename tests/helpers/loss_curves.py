"""Short training runs of our own whose losses are kept: `python -m tests.helpers.loss_curves`.

The command writes `tests/golden/loss_curves/NAME.json` anew. Run it only where a change is meant to
change training, and say so in the commit: else the kept curves are the proof that it did not.

A curve need not be the same to the bit: another CPU, or another version of torch, adds up in
another order, and 20 steps amplify that. With the kernels for SSE4, AVX2 and AVX-512 (set by
`ATEN_CPU_CAPABILITY` and `ONEDNN_MAX_CPU_ISA`) losses and gradient norms differed by 2e-6 of their
size in float32, and by 1e-2 and 3e-2 in bfloat16. `BARS` allows several times that.
"""

import json
import tempfile
from pathlib import Path

from tests.helpers.data_sets import write_data_set
from tests.helpers.paths import GOLDEN
from tests.helpers.runs import make_recipe, run_training

FOLDER = GOLDEN / "loss_curves"
STEPS = 20
BARS = {"float32": 2e-5, "bfloat16": 1e-1}
"""Largest relative difference of a loss or gradient norm, by precision."""
RECIPES: dict[str, dict[str, object]] = {
    "linear": {
        "model": {"decoder": "linear", "drop_path": 0.2},
        "augment": {"color": "segmenter", "scale": [0.5, 2.0]},
        "optimizer": {"name": "sgd", "lr": 0.005, "momentum": 0.9, "clip_grad_norm": 1.0},
        "accumulate": 2,
    },
    "mask": {
        "model": {"decoder": {"kind": "mask", "dim": 64, "dropout": 0.1}, "drop_path": 0.1},
        "augment": {"color": "paddleseg", "rare_class_crops": 0.3},
        "optimizer": {"lr": 1e-4, "weight_decay": 0.05, "layer_decay": 0.8},
        "schedule": {"warmup_steps": 5, "power": 0.9},
        "loss": {"dice": 1.0, "focal": 1.0},
        "ema_decay": 0.9,
    },
}
"""Together they turn on most of what moves weights."""


def curve(name: str, precision: str, folder: Path) -> list[dict[str, float]]:
    """Train one of `RECIPES` in an empty folder; returns what its log says of each step."""
    root = write_data_set(folder / "data")
    changes = {"schedule": {}, **RECIPES[name]}
    changes["schedule"] = {"steps": STEPS} | changes["schedule"]  # pyright: ignore[reportOperatorIssue]
    recipe = make_recipe(
        root,
        **changes,
        precision=precision,
        evaluate_every=STEPS // 2,
        save_every=STEPS,
        log_every=1,
    )
    run_training(recipe, folder / "run", "cpu")
    kept = ("step", "train/loss", "train/grad_norm", "train/lr", "val/miou")
    lines = map(json.loads, (folder / "run/log.jsonl").read_text().splitlines())
    return [{key: line[key] for key in kept if key in line} for line in lines]


def main() -> None:
    """Write all curves anew."""
    FOLDER.mkdir(exist_ok=True)
    for name in RECIPES:
        curves = {}
        for precision in BARS:
            with tempfile.TemporaryDirectory() as folder:
                curves[precision] = curve(name, precision, Path(folder))
        (FOLDER / f"{name}.json").write_text(json.dumps(curves, indent=1) + "\n")


if __name__ == "__main__":
    main()
