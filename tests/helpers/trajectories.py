"""Trajectories of runs on several processes."""

import sys
from pathlib import Path

import pytest

from segmenter.recipe import Recipe
from segmenter.training.launch import launch
from tests.training.driver import read_trace


def drive(recipe: Recipe, folder: Path, count: int, *arguments: str) -> int:
    """Train in `count` processes; gives the exit status. Traces lie beside the run."""
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(recipe.to_yaml())
    command = [sys.executable, "-m", "tests.training.driver", "--trace", f"{folder}.trace"]
    return launch([*command, "train", str(file), "--out", str(folder), *arguments], count)


def trace(folder: Path, count: int) -> list[tuple[list[int], float]]:
    """Positions of all processes together and the loss, step by step."""
    parts = [read_trace(folder.with_suffix(f".{rank}")) for rank in range(count)]
    steps = []
    for step, first in parts[0].items():
        assert all(part[step]["loss"] == first["loss"] for part in parts)
        positions = [each for part in parts for each in part[step]["positions"]]
        steps.append((positions, float.fromhex(first["loss"])))
    return steps


def assert_same_trajectory(one: list, other: list) -> None:
    assert [positions for positions, _ in one] == [positions for positions, _ in other]
    for (_, loss), (_, other_loss) in zip(one, other, strict=True):
        assert loss == pytest.approx(other_loss, abs=1e-5)
