"""What is to run on the first machine with a GPU runs on the CPU, small, so that it cannot rot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.gpu import REHEARSAL
from tests.helpers.paths import REPOSITORY

TABLE = """
import itertools, types
from benchmarks import gpu
gpu.time = types.SimpleNamespace(perf_counter=itertools.count().__next__)
gpu.main()
"""
"""A second passes whenever the clock is read, 11 times for a row, however fast the machine is."""


def run_here(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_every_check_of_a_gpu_passes_on_the_cpu() -> None:
    found = run_here("-m", "tests.gpu", "-q", "tests/gpu", **{REHEARSAL: "1"})
    assert found.returncode == 0, found.stdout[-4000:]
    assert " passed" in found.stdout


@pytest.mark.slow
def test_the_checks_say_why_they_are_skipped_where_there_is_no_gpu() -> None:
    found = run_here("-m", "tests.gpu", "-q", "tests/gpu/test_devices.py", **{REHEARSAL: "0"})
    assert found.returncode == 0, found.stdout[-4000:]
    assert "not on this machine: a CUDA device" in found.stdout
    assert "passed" not in found.stdout


@pytest.mark.slow
def test_the_table_of_speeds_has_a_row_for_every_model_and_batch(
    tmp_path: Path,
) -> None:
    out = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--tiny", "--encoders", "S", "--seconds", str(7 * 11)]
    found = run_here("-c", TABLE, *arguments, "--out", str(out))
    assert found.returncode == 0, found.stderr[-4000:]
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 3 * 2 * 2
    measured, others = rows[:7], rows[7:]
    assert not [row["error"] for row in measured if "error" in row]
    assert {row["decoder"] for row in measured} == {"linear", "mask", "joined-class-tokens"}
    assert {row["runtime"] for row in measured} == {"torch", "torch-compile"}
    assert all(row["images_per_second"] > 0 for row in measured)
    assert {row["error"] for row in others} == {"not measured: out of time"}
