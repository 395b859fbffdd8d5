"""`evaluate --statistics`, `--label-rule` and `compare`, as they are typed."""

import json
from pathlib import Path

import pytest
import torch

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a data set and two models of its classes."""
    monkeypatch.chdir(tmp_path)
    write_data_set(Path("data"))
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = Segmenter(make_spec()).eval()
        with torch.no_grad():
            model.decoder.project.weight.mul_(40)  # else it has one label for everything
        save(model, f"{name}.safetensors")
    return tmp_path


def evaluate(*arguments: str) -> dict:
    assert run("evaluate", "one.safetensors", "data", "--split", "val", *arguments) == 0
    return json.loads(Path("e.json").read_text())


def test_statistics_are_in_the_table_the_json_and_the_page(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = "--json e.json --report r --statistics --boundary-ratio 0.05"
    said = evaluate(*arguments.split(), "--temperature-split", "train")
    found = said["statistics"]
    assert found["boundary"]["ratio"] == 0.05
    assert found["calibration"]["fitted_on"] == "train"
    assert found["calibration"]["ece_tempered"] < found["calibration"]["ece"]
    low, high = said["intervals"]["miou"]
    assert low <= said["miou"] <= high
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("boundary IoU", "calibration error", "intervals over images", "fitted on train"):
        assert text in printed
    page = (here / "r" / "index.html").read_text("utf-8")
    for text in ("Boundaries and objects", "Confidence", "(AURC)", "fitted on train"):
        assert text in page


def test_without_the_flag_nothing_more_is_counted_and_scores_are_the_same(here: Path) -> None:  # noqa: ARG001
    plain = evaluate("--json", "e.json")
    assert "statistics" not in plain
    counted = evaluate("--json", "e.json", "--overwrite", "--statistics")
    assert counted["confusion"] == plain["confusion"]
    assert counted["intervals"] == plain["intervals"]


def test_decoding_is_chosen_for_evaluate_and_predict_and_named(here: Path) -> None:
    argmax = evaluate("--json", "e.json")
    assert argmax["decode"] == "argmax"
    iou = evaluate(*["--json", "e.json", "--overwrite", "--label-rule", "iou"])
    assert iou["decode"] == "iou"
    assert iou["confusion"] != argmax["confusion"]
    labels = []
    for decode in ("argmax", "iou"):
        arguments = f"predict data/images/val --model one.safetensors --label-rule {decode} --out"
        assert run(*arguments.split(), decode) == 0
        labels.append((here / decode / "photo-0_label.png").read_bytes())
    assert labels[0] != labels[1]


def test_two_models_are_compared_in_table_json_and_page(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = "one.safetensors two.safetensors data --split val --json c.json --report c"
    assert run("compare", *arguments.split(), "--label-rule", "argmax", "dice") == 0
    said = json.loads((here / "c.json").read_text())
    assert said["miou"]["difference"] == said["miou"]["b"] - said["miou"]["a"]
    assert (said["how_a"]["decode"], said["how_b"]["decode"]) == ("argmax", "dice")
    assert sum(said["photos"].values()) == said["num_images"] == 4
    printed = capsys.readouterr().out
    assert said["verdict"] in printed.replace("\n", " ")
    assert "Who is right" in (here / "c" / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate one.safetensors data --split val --boundary-ratio 0", "above 0 and at most 1"),
        ("evaluate one.safetensors data --split val --boundary-ratio 7", "got 7"),
        ("evaluate one.safetensors data --split val --temperature-split val", "are scored too"),
        ("evaluate one.safetensors data --split val --temperature-split tran", "did you mean"),
        ("evaluate one.safetensors data --split val --label-rule jaccard", "jaccard"),
        ("predict data --model one.safetensors --label-rule jaccard", "jaccard"),
        ("compare one.safetensors absent.safetensors data --split val", "absent.safetensors"),
        ("compare one.safetensors two.safetensors absent", "no such folder"),
        ("compare one.safetensors two.safetensors data --split vall", "did you mean 'val'"),
        ("compare one.safetensors street data --split val", "3 classes, the model 11"),
        ("compare one.safetensors two.safetensors data --split val --label-rule iou", "label-rule"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
    arguments: str,
    message: str,
) -> None:
    assert message in refused(capsys, *arguments.split())
