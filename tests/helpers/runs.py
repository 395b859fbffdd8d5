"""Short training runs, stopped and compared."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

import segmenter
from segmenter.api import run_training as run_training_module
from segmenter.checkpoints import save
from segmenter.data.loading import Batch
from segmenter.model import Segmenter
from segmenter.options import AUTO_DEVICE, Execution, Hardware, RunFolder
from segmenter.recipe import Recipe
from segmenter.recipe.loss import LossRecipe
from segmenter.training import loop
from segmenter.training.losses import Loss
from segmenter.training.signals import Stopped
from segmenter.training.step import train_step
from tests.helpers.models import make_spec

EVERYTHING_RANDOM = {
    "model": {"drop_path": 0.3, "decoder": {"kind": "mask", "dropout": 0.2, "dim": 64}},
    "augment": {"color": "segmenter", "scale": [0.5, 2.0], "rare_class_crops": 0.3},
    "ema_decay": 0.9,
}


_PLAIN = Execution()
LOSS = Loss(LossRecipe(), ignore_index=255)


def run_training(
    recipe: Recipe,
    out: Path | None,
    device: str = AUTO_DEVICE,
    *,
    devices: int | None = None,
    execution: Execution = _PLAIN,
    resume: bool = False,
    allow_config_change: bool = False,
) -> run_training_module.EndedRun:
    """Train, with the options of the command one by one."""
    run = RunFolder(out=out, resume=resume, allow_config_change=allow_config_change)
    hardware = Hardware(device=device, devices=devices)
    return run_training_module.run_training(recipe, run, hardware, execution)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return segmenter.load(run / "last.safetensors").state_dict()


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def equal(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal during the given update."""
    calls = []

    def step_then_signal(*arguments: object) -> object:
        calls.append(None)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return train_step(*arguments)

    monkeypatch.setattr(loop, "train_step", step_then_signal)


def run_with_a_stop(
    recipe: Recipe, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop a run by a signal during the given update, and resume it."""
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(Stopped):
            run_training(recipe, folder, "cpu")
    run_training(recipe, folder, "cpu", resume=True)


def batch_of(images: torch.Tensor, labels: torch.Tensor) -> Batch:
    """Crops that have masks, from the start of the stream."""
    places = torch.arange(len(images))
    return Batch(images, labels, places, torch.zeros_like(labels, dtype=torch.bool), images)


def batch(model: Segmenter, count: int = 4) -> Batch:
    labels = torch.randint(0, 3, (count, 32, 32))
    labels[0, :20] = model.spec.classes.ignore_index
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    return batch_of(images, labels)


def make_recipe(root: Path, **changes: dict[str, object] | object) -> Recipe:
    """A run of seconds on `data_set`; `changes` are merged into the recipe's sections."""
    content: dict[str, object] = {
        "name": "tiny",
        "model": {"weights": str(root / "start.safetensors"), "decoder": "linear"},
        "data": {"root": str(root)},
        "augment": {"crop_size": 64, "color": "none", "scale": [1.0, 1.0]},
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"steps": 6},
        "batch_size": 4,
        "workers": 0,
        "evaluate_every": 3,
        "save_every": 2,
    }
    for key, value in changes.items():
        section = content.get(key)
        content[key] = section | value if isinstance(section, dict) else value
    start = root / "start.safetensors"
    if not start.exists():
        torch.manual_seed(1)
        save(Segmenter(make_spec(patch_size=8, table_grid=(8, 8))), start)
    return Recipe.model_validate(content)
