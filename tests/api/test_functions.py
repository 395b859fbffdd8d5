"""The functions of the package give what the commands print and write, and print nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

import segmenter
from segmenter.errors import UserError
from tests.helpers.command_line import run
from tests.helpers.paths import REPOSITORY

GOLDEN = REPOSITORY / "tests/golden"

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def silent(capfd: pytest.CaptureFixture) -> pytest.CaptureFixture:
    """Nothing may be printed until `readouterr` is called."""
    capfd.readouterr()
    return capfd


def test_evaluate_gives_the_scores_of_the_command(silent: pytest.CaptureFixture) -> None:
    evaluation = segmenter.evaluate("model.safetensors", "data", split="val", json="ours.json")
    assert "mIoU" not in silent.readouterr().out
    assert (
        run("evaluate", *["model.safetensors", "data", "--split", "val", "--json", "theirs.json"])
        == 0
    )
    ours, theirs = (json.loads(Path(name).read_text()) for name in ("ours.json", "theirs.json"))
    for scores in (ours, theirs):
        del scores["seconds"]
    assert ours == theirs
    assert evaluation.miou == theirs["miou"]
    assert evaluation.per_class["class-1"].iou == theirs["classes"]["class-1"]["iou"]
    np.testing.assert_array_equal(evaluation.confusion, theirs["confusion"])
    assert repr(evaluation).startswith("Evaluation(4 images: mIoU ")


def test_evaluate_takes_the_options_of_the_command() -> None:
    evaluation = segmenter.evaluate(
        Path("model.safetensors"), Path("data"), split="val", short_side=32, statistics=True
    )
    assert evaluation.statistics is not None


def test_check_gives_the_findings_of_the_command(silent: pytest.CaptureFixture) -> None:
    next(Path("data/masks/val").iterdir()).unlink()
    found = segmenter.check("data", json="ours.json")
    assert silent.readouterr() == ("", "")
    assert run("check", "data", "--json", "theirs.json") == 3
    assert Path("ours.json").read_text() == Path("theirs.json").read_text()
    assert not found.is_clean
    assert "without-mask" in {each.kind for each in found.findings} or found.findings
    assert found.findings[0].advice in repr(found)


def test_convert_gives_what_the_command_prints_and_writes(silent: pytest.CaptureFixture) -> None:
    source = GOLDEN / "mmseg_linear/checkpoint.pth"
    converted = segmenter.convert(source, "ours.safetensors")
    assert silent.readouterr() == ("", "")
    assert run("convert", str(source), "theirs.safetensors") == 0
    printed = silent.readouterr().out.replace("theirs.safetensors", "ours.safetensors")
    assert converted.summary + "\n" == printed
    assert converted.path.read_bytes() == Path("theirs.safetensors").read_bytes()


@pytest.mark.slow
def test_export_gives_the_files_and_their_comparison(silent: pytest.CaptureFixture) -> None:
    exported = segmenter.export("model.safetensors", "model.onnx", data="data", split="val")
    assert silent.readouterr().out == ""
    assert exported.files == (Path("model.onnx"),)
    assert json.loads(exported.report.read_text())["miou"] == exported.miou
    assert all(parity.passed for parity in exported.parity)
    assert segmenter.Predictor("model.onnx").segment(np.zeros((64, 64, 3), np.uint8)).labels.any()


MISTAKES = {
    "evaluate nowhere.safetensors data": lambda: segmenter.evaluate("nowhere.safetensors", "data"),
    "evaluate model.safetensors nowhere": lambda: segmenter.evaluate(
        "model.safetensors", "nowhere"
    ),
    "evaluate model.safetensors data --split tset": lambda: segmenter.evaluate(
        "model.safetensors", "data", split="tset"
    ),
    "evaluate model.safetensors data --json model.safetensors --overwrite": lambda: (
        segmenter.evaluate("model.safetensors", "data", json="model.safetensors", overwrite=True)
    ),
    "check nowhere": lambda: segmenter.check("nowhere"),
    "convert nowhere.pth a.safetensors": lambda: segmenter.convert("nowhere.pth", "a.safetensors"),
    "export model.safetensors model.txt": lambda: segmenter.export(
        "model.safetensors", "model.txt"
    ),
    "train nowhere --data data": lambda: segmenter.train("nowhere", data="data"),
    "train tiny.yaml --data nowhere": lambda: segmenter.train("tiny.yaml", data="nowhere"),
    "train tiny.yaml --schedule.stepz 5": lambda: segmenter.train(
        "tiny.yaml", schedule={"stepz": 5}
    ),
    "train tiny.yaml --schedule.steps many": lambda: segmenter.train(
        "tiny.yaml", schedule={"steps": "many"}
    ),
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_raises_the_text_of_the_command(
    command: str, capsys: pytest.CaptureFixture
) -> None:
    assert run(*command.split()) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(UserError) as raised:
        MISTAKES[command]()
    assert line == f"segmenter: {' '.join(str(raised.value).split())}"
