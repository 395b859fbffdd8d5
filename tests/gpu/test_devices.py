"""A GPU is found, used and named without a word from the user."""

from pathlib import Path

import numpy as np
import pytest
import torch

import segmenter
from segmenter.inference import Predictor
from segmenter.options import Compute
from segmenter.runtimes.devices import has_bfloat16
from segmenter.runtimes.open_runtime import open_runtime
from tests.helpers.command_line import run
from tests.helpers.gpu import rehearses
from tests.helpers.paths import REPOSITORY
from tests.helpers.runs import make_recipe

pytestmark = pytest.mark.gpu


def test_a_predictor_takes_the_gpu_and_torch(device: torch.device) -> None:
    predictor = segmenter.Predictor("street")
    assert predictor.device == device
    if not rehearses():
        wanted = "bfloat16" if has_bfloat16(device) else "float32"
        assert (predictor.runtime.name, predictor.runtime.precision) == ("torch", wanted)
    labels = predictor(np.zeros((64, 64, 3), dtype=np.uint8))
    assert labels.shape == (64, 64)


def test_commands_say_what_was_found(
    device: torch.device,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("predict", str(REPOSITORY / "examples/church.jpg"), "--model", "street-tiny") == 0
    assert f"device: {device}" in capsys.readouterr().out
    Path("tiny.yaml").write_text(make_recipe(root, schedule={"steps": 2}).to_yaml())
    assert run("train", "tiny.yaml", "--out", "run") == 0
    assert f"device: {device}" in capsys.readouterr().err
    assert run("evaluate", "run/last.safetensors", str(root), "--split", "val") == 0
    assert f"device: {device}" in capsys.readouterr().out


@pytest.mark.usefixtures("device")
def test_graphs_and_the_cpu_can_still_be_asked_for() -> None:
    pytest.importorskip("openvino")
    for compute in (Compute(device="cpu"), Compute(runtime="openvino")):
        runtime = open_runtime("street-tiny", compute)
        assert runtime.device == torch.device("cpu")
        Predictor(runtime)(np.zeros((30, 40, 3), dtype=np.uint8))
