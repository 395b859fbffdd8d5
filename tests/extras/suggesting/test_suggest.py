"""`segmenter suggest` lists what to label next, on the terminal and as JSON."""

import json
from pathlib import Path

import pytest

from segmenter.checkpoints import save
from segmenter.model import Protocol, Segmenter
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_pair
from tests.helpers.models import make_spec


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        mask = tmp_path / "set" / "masks" / f"{name}.png" if name == "b" else None
        write_pair(tmp_path / "set" / "images" / f"{name}.png", mask, seed)
    spec = make_spec(3, decoder="multi-linear")
    save(
        Segmenter(spec.model_copy(update={"protocol": Protocol(short_side=48)})),
        tmp_path / "tiny.safetensors",
    )
    return tmp_path / "set"


def test_images_without_a_mask_are_listed_with_a_reason(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "tiny.safetensors", tmp_path / "next.json"
    assert run("suggest", str(root), "--model", str(model), "--json", str(out)) == 0
    images = json.loads(out.read_text())["images"]
    assert sorted(each["image"] for each in images) == ["a", "c"]
    assert all(0 <= each["uncertainty"] <= 1 for each in images)
    shown = capsys.readouterr().out
    assert f"1. {images[0]['image']}: {images[0]['reason']} (confidence" in shown
    assert "--order" in shown


def test_a_folder_whose_images_all_have_masks_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ac":
        write_pair(root / "images" / f"{name}.png", root / "masks" / f"{name}.png")
    model = str(tmp_path / "tiny.safetensors")
    assert "have a mask; none is left to label" in refused(
        capsys, "suggest", str(root), "--model", model
    )
