"""`--merge-threshold`, as it is typed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec

IMAGE = "data/images/val/photo-0.png"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a data set and a model of its classes."""
    monkeypatch.chdir(tmp_path)
    write_data_set(Path("data"))
    model = Segmenter(make_spec(patch_size=4)).eval()
    torch.nn.init.normal_(model.decoder.project.weight)  # else it has one label
    save(model, "linear.safetensors")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_predict_merges_in_torch_and_says_so(capsys: pytest.CaptureFixture) -> None:
    command = f"predict {IMAGE} --model linear.safetensors --save label"
    assert run(*command.split(), "--out", "plain", "--runtime", "torch") == 0
    assert "merged" not in capsys.readouterr().out
    assert run(*command.split(), "--out", "merged", "--merge-threshold", "0.8") == 0
    said = capsys.readouterr().out
    assert "runtime: torch" in said
    assert "tokens merged above a cosine of 0.8" in said
    plain, merged = (
        np.array(Image.open(f"{folder}/photo-0_label.png")) for folder in ("plain", "merged")
    )
    assert plain.shape == merged.shape
    assert (plain != merged).any()


@pytest.mark.usefixtures("here")
def test_evaluate_and_compare_name_the_thresholds() -> None:
    command = "linear.safetensors data --split val --json"
    assert run("evaluate", *command.split(), "e.json", "--merge-threshold", "0.8") == 0
    assert json.loads(Path("e.json").read_text())["merge_tokens"] == 0.8
    given = f"compare linear.safetensors {command} c.json --report r --merge-threshold 1 0.8"
    assert run(*given.split()) == 0
    compared = json.loads(Path("c.json").read_text())
    assert compared["how_a"]["merge_tokens"] == 1
    assert compared["how_b"]["merge_tokens"] == 0.8
    (page,) = Path("r").glob("*.html")
    assert "(argmax, tokens merged above 0.8)" in page.read_text()


@pytest.mark.usefixtures("here")
def test_benchmark_measures_a_image_and_counts_what_is_left_to_do(
    capsys: pytest.CaptureFixture,
) -> None:
    command = f"benchmark linear.safetensors --image {IMAGE} --size 64 64 --rounds 1 --json"
    found = []
    for options in ("--runtime torch", "--merge-threshold 1", "--merge-threshold 0.5"):
        assert run(*command.split(), *options.split()) == 0
        found.append(json.loads(capsys.readouterr().out))
    plain, none_merged, merged = found
    assert [each["merge_tokens"] for each in found] == [None, 1, 0.5]
    assert merged["flops"] < plain["flops"] < none_merged["flops"]  # comparing tokens is work too


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            f"predict {IMAGE} --model linear.safetensors --merge-threshold 0",
            "above 0 and at most 1",
        ),
        (f"predict {IMAGE} --model linear.safetensors --merge-threshold nan", "got 'nan'"),
        (f"predict {IMAGE} --model linear.safetensors --merge-threshold much", "much"),
        (
            f"predict {IMAGE} --model linear.safetensors --merge-threshold 0.8 --runtime openvino",
            "merged in torch, not in openvino",
        ),
        ("evaluate linear.safetensors data --split val --merge-threshold 2", "got 2.0"),
        ("benchmark linear.safetensors --merge-threshold 0.8", "name one with --image"),
        ("benchmark linear.safetensors --image absent.jpg", "absent.jpg"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_mistake_is_answered_in_one_line(
    capsys: pytest.CaptureFixture, arguments: str, message: str
) -> None:
    assert message in refused(capsys, *arguments.split())
