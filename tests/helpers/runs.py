"""Short training runs, stopped and compared."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

import segmenter
from segmenter.data.loading import Batch
from segmenter.model import Segmenter
from segmenter.recipe.loss import LossRecipe
from segmenter.training import loop
from segmenter.training.losses import Loss
from segmenter.training.step import train_step

EVERYTHING_RANDOM = {
    "model": {"drop_path": 0.3, "decoder": "mask", "decoder_dropout": 0.2, "decoder_dim": 64},
    "augment": {"color": "segmenter", "scale": [0.5, 2.0], "rare_class_crops": 0.3},
    "ema_decay": 0.9,
}


LOSS = Loss(LossRecipe(), ignore_index=255)


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


def batch(model: Segmenter, count: int = 4) -> Batch:
    labels = torch.randint(0, 3, (count, 32, 32))
    labels[0, :20] = model.spec.classes.ignore_index
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    return Batch(images, labels, torch.arange(count))
