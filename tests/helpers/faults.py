"""Runs that are stopped in the middle of a step."""

import os
import signal
from pathlib import Path

import pytest
import torch

import segmenter
from segmenter.training import loop
from segmenter.training.step import train_step


def equal(first: Path, second: Path) -> bool:
    a, b = (segmenter.load(run / "last.safetensors").state_dict() for run in (first, second))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_in_step_two(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def step(*arguments: object) -> object:
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(*arguments)

    monkeypatch.setattr(loop, "train_step", step)
