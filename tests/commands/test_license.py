"""Every command that uses a model shows its terms, wherever the model comes from."""

import json
import shutil
from pathlib import Path

import pytest

from segmenter.checkpoints import save
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from tests.helpers.command_line import run
from tests.helpers.models import make_spec

TERMS = "Ask my aunt."
NOTE = f"note: the model 'aunts.safetensors' is under these terms: {TERMS}\n"


@pytest.fixture(autouse=True)
def models(here: Path) -> None:
    """One model with terms, one that may be used for anything, and one that states nothing."""
    for name, license in (("aunts", TERMS), ("free", "Apache-2.0 AND MIT"), ("silent", "")):
        spec = make_spec(depth=4).model_copy(update={"license": license})
        save(Segmenter(spec).eval(), here / f"{name}.safetensors")


@pytest.mark.parametrize("options", ["", "--parts 1"])
def test_predict_prints_the_terms_of_a_file(capsys: pytest.CaptureFixture, options: str) -> None:
    assert (
        run(*f"predict data/images/val --runtime torch --model aunts.safetensors {options}".split())
        == 0
    )
    assert capsys.readouterr().out.count(NOTE) == 1


@pytest.mark.parametrize("name", ["free", "silent"])
def test_predict_prints_nothing_of_a_model_without_terms(
    capsys: pytest.CaptureFixture, name: str
) -> None:
    assert run(*f"predict data/images/val --runtime torch --model {name}.safetensors".split()) == 0
    assert "terms" not in capsys.readouterr().out


def test_the_gallery_has_the_licence() -> None:
    gallery = ["predict", "data/images/val", "--gallery", "--runtime", "torch", "--model"]
    assert run(*gallery, "aunts.safetensors") == 0
    assert TERMS in Path("predictions/index.html").read_text()
    shutil.rmtree("predictions")
    assert run(*gallery, "free.safetensors") == 0
    assert "Apache-2.0 AND MIT" in Path("predictions/index.html").read_text()


@pytest.mark.parametrize(
    "command",
    [
        "evaluate aunts.safetensors data --split val",
        "compare aunts.safetensors silent.safetensors data --split val",
        "compare aunts.safetensors aunts.safetensors data --split val",
        "explain data/images/val/photo-0.png --model aunts.safetensors --out seen",
        "benchmark aunts.safetensors --size 32 32 --rounds 1 --runtime torch",
    ],
)
def test_commands_that_measure_or_explain_print_the_terms_once(
    command: str, capsys: pytest.CaptureFixture
) -> None:
    assert run(*command.split()) == 0
    assert capsys.readouterr().out.count(NOTE) == 1


def test_json_of_a_benchmark_has_the_licence_and_no_note(capsys: pytest.CaptureFixture) -> None:
    command = "benchmark aunts.safetensors --size 32 32 --rounds 1 --runtime torch --json"
    assert run(*command.split()) == 0
    assert json.loads(capsys.readouterr().out)["license"] == TERMS


def test_an_evaluation_has_the_licence_in_its_json_and_its_report() -> None:
    command = "evaluate aunts.safetensors data --split val --json e.json --report r"
    assert run(*command.split()) == 0
    assert json.loads(Path("e.json").read_text())["license"] == TERMS
    assert TERMS in Path("r/index.html").read_text()


def test_a_comparison_has_both_licences() -> None:
    command = "compare aunts.safetensors silent.safetensors data --split val --json c.json"
    assert run(*command.split()) == 0
    found = json.loads(Path("c.json").read_text())
    assert (found["how_a"]["license"], found["how_b"]["license"]) == (TERMS, None)


def test_an_explanation_has_the_licence() -> None:
    image = next(Path("data/images/val").iterdir())
    assert run("explain", str(image), "--model", "aunts.safetensors", "--out", "seen") == 0
    assert f"Licence of the model: {TERMS}" in Path("seen/index.html").read_text()


def test_a_pruned_model_keeps_the_terms_and_says_so(capsys: pytest.CaptureFixture) -> None:
    command = "prune aunts.safetensors data/images --out small.safetensors --depth 2"
    assert run(*command.split()) == 0
    said = capsys.readouterr().out
    assert f"note: the model 'small.safetensors' is under these terms: {TERMS}\n" in said


def test_a_predictor_in_python_shows_the_terms() -> None:
    assert repr(Predictor("aunts.safetensors", runtime="torch")).endswith(
        f"; terms of use: {TERMS})"
    )
    assert "terms" not in repr(Predictor("free.safetensors", runtime="torch"))
