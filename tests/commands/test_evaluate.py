"""`evaluate --statistics`, `--label-rule` and `compare`, as they are typed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.checkpoints import load, save
from segmenter.model import Segmenter
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec, one_class_model


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
        arguments = f"predict data/images/val --model one.safetensors --label-rule {decode}"
        assert run(*arguments.split(), "--runtime", "torch", "--out", decode) == 0
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


def test_compared_models_read_deep_images_each_as_in_its_evaluation(here: Path) -> None:
    for path in (here / "data/images/val").iterdir():
        Image.fromarray(np.asarray(Image.open(path).convert("L")).astype(np.uint16) << 2).save(path)
    found = []
    for name, bits in (("one", 10), ("two", 13)):
        model = load(f"{name}.safetensors")
        classes = model.spec.classes.with_image_bits(bits)
        model.spec = model.spec.model_copy(update={"classes": classes})
        save(model, f"{name}.safetensors", overwrite=True)
        arguments = f"evaluate {name}.safetensors data --split val --json {name}.json"
        assert run(*arguments.split()) == 0
        found.append(json.loads(Path(f"{name}.json").read_text())["miou"])
    arguments = "compare one.safetensors two.safetensors data --split val --json c.json"
    assert run(*arguments.split()) == 0
    said = json.loads(Path("c.json").read_text())["miou"]
    assert [said["a"], said["b"]] == found


def test_saved_maps_are_compared_as_the_model_that_wrote_them(here: Path) -> None:
    predict = "predict data/images/val --model one.safetensors --save label --out maps"
    assert run(*predict.split(), "--runtime", "torch", "--precision", "float32") == 0
    compare = ("data", "--split", "val", "--json", "c.json", "--report", "c")
    assert run("compare", "one.safetensors", "maps", *compare) == 0
    said = json.loads((here / "c.json").read_text())
    assert {image["difference"] for image in said["images"]} == {0.0}
    assert said["how_b"]["ids"] == "index"
    assert run("compare", "maps", "data/masks/val", *compare, "--overwrite") == 0
    said = json.loads((here / "c.json").read_text())
    assert said["miou"]["b"] == 1.0
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
        ("compare one.safetensors two.safetensors data --split val --ids index", "two models"),
        (
            "compare data/masks/val two.safetensors data --split val --label-rule dice iou",
            "for models",
        ),
        ("compare data/masks/val data/masks/val data --split val --window 64", "for models"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
    arguments: str,
    message: str,
) -> None:
    assert message in refused(capsys, *arguments.split())


def test_thresholds_of_a_one_class_model_are_scored_and_the_best_is_named(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    model = one_class_model()
    save(model, "one.safetensors", overwrite=True)
    (here / "data/classes.yaml").write_text(model.spec.classes.to_yaml())
    curve = evaluate("--json", "e.json", "--statistics", "--report", "r")["statistics"]
    found = curve["threshold_curve"]
    best = found["best_iou_at"]
    assert f"best IoU at threshold {best:.2f} on this split" in " ".join(
        capsys.readouterr().out.split()
    )
    assert f"The IoU is highest at <b>{best:.2f}</b>" in (here / "r/index.html").read_text("utf-8")
    for at in (best, 0.37, 0.9):
        scored = evaluate("--json", "e.json", "--overwrite", "--threshold", str(at))
        (expected,) = [each for each in found["scores"] if each["threshold"] == at]
        assert scored["threshold"] == at
        for key in ("precision", "recall", "iou", "dice"):
            assert scored["classes"]["blue"][key] == pytest.approx(expected[key])


def test_predict_labels_more_with_a_lower_threshold_and_refuses_it_for_several_classes(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    save(one_class_model(), "single.safetensors")
    labelled = {}
    for at in ("0.1", "0.9"):
        predict = ["predict", "data/images/val", "--model", "single.safetensors", "--out", at]
        predict += ["--runtime", "torch"]
        assert run(*predict, "--save", "label", "--threshold", at) == 0
        maps = sorted((here / at).glob("*_label.png"))
        labelled[at] = sum(int((np.array(Image.open(path)) == 1).sum()) for path in maps)
    assert labelled["0.1"] > labelled["0.9"]
    capsys.readouterr()
    several = ["predict", "data/images/val", "--model", "one.safetensors", "--threshold", "0.3"]
    assert "is for a model of one class" in refused(capsys, *several)


def test_lossy_masks_are_warned_of(here: Path, capsys: pytest.CaptureFixture) -> None:
    mask = here / "data/masks/val/photo-0.png"
    Image.new("L", (64, 64)).save(mask, format="JPEG")
    assert evaluate("--json", "e.json")["num_images"] == 4
    said = capsys.readouterr().err
    assert (
        "warning: 1 of 4 masks are JPEG or AVIF files, such as data/masks/val/photo-0.png" in said
    )
