"""Pairs of images and masks as `train`, `evaluate` and `check` are told of them."""

import json
import shlex
from pathlib import Path

import pytest

from segmenter.evaluation.evaluate_model import open_scored
from segmenter.options import Data
from segmenter.recipe import read_recipe
from tests.helpers.command_line import refused, run
from tests.helpers.models import make_spec

RENAMED = {"images": "{}_rgb.png", "masks": "{}_seg.png"}
PATTERNS = ("--images", "images/{}_rgb.png", "--masks", "masks/{}_seg.png")


@pytest.fixture
def renamed(here: Path) -> Path:
    """The working directory of `here`, its images and masks named apart, and another family."""
    for folder, form in RENAMED.items():
        for path in sorted((here / "data" / folder).rglob("*.png")):
            path.rename(path.with_name(form.format(path.stem)))
    return here


def test_a_run_says_how_it_pairs_and_trains(renamed: Path, capsys: pytest.CaptureFixture) -> None:
    assert renamed.is_dir()
    assert run("train", "tiny.yaml", "--out", "r") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "paired 8 of 8 images with masks: images/{}_rgb.png with masks/{}_seg.png" in said


def test_patterns_are_kept_in_the_recipe_and_resumed_with(
    renamed: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in sorted((renamed / "data/masks").rglob("*_seg.png")):
        path.with_name(path.name.replace("_seg", "_color")).write_bytes(path.read_bytes())
    assert "may have the mask" in refused(capsys, "train", "tiny.yaml", "--out", "r")
    assert run("train", "tiny.yaml", "--out", "r", *PATTERNS) == 0
    kept = read_recipe("r/recipe.yaml").data
    assert (kept.images, kept.masks) == (PATTERNS[1], PATTERNS[3])
    assert run("train", "r/recipe.yaml", "--out", "r", "--resume") == 0
    assert run("check", "data", *PATTERNS) in (0, 3)


def test_a_model_is_scored_on_what_its_training_held_out_without_naming_the_patterns_again(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    for kind, form in (("images", "img_{}.png"), ("masks", "{}.png")):
        for split in ("train", "val"):
            for path in sorted((here / "data" / kind / split).iterdir()):
                number = 4 * (split == "val") + int(path.stem.rpartition("-")[2])
                path.rename(here / "data" / kind / form.format(number))
            (here / "data" / kind / split).rmdir()
    patterns = ("--images", "images/img_{}.png", "--masks", "masks/{}.png")
    held_out = ("--data.hold_out", "0.4")
    assert run("train", "tiny.yaml", "--out", "r", *held_out, *patterns) == 0
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("evaluate: ")]
    assert shlex.split(line.partition("segmenter ")[2])[-4:] == list(patterns)
    scored = []
    for words in ((), patterns):
        evaluate = ("evaluate", "r/last.safetensors", "data", "--split", "val", *words)
        assert run(*evaluate, "--json", f"{len(words)}.json") == 0
        said = capsys.readouterr()
        assert "were trained on" not in said.err
        scored.append(json.loads(Path(f"{len(words)}.json").read_text())["images"])
        note = f"images and masks paired as in the training: {' '.join(patterns)}\n"
        assert (note in said.out) == (words == ())
    assert scored[0] == scored[1]


@pytest.mark.parametrize(
    "pattern", ["../data/images/train/{}.png", "{root}/data/images/train/{}.png"]
)
def test_patterns_that_lead_out_of_the_data_are_not_taken_from_a_model(
    here: Path, pattern: str
) -> None:
    images = pattern.replace("{root}", str(here))
    recipe = {"data": {"images": images, "masks": "masks/train/{}.png"}}
    spec = make_spec().model_copy(update={"recipe": recipe})
    folder = open_scored("data", Data(), spec)
    assert set(folder.splits) == {"train", "val"}
