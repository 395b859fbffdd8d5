"""`segmenter suggest` lists what to label next, on the terminal and as JSON."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segmenter.checkpoints import save
from segmenter.errors import UserError
from segmenter.extras.suggesting import suggest
from segmenter.extras.suggesting.suggest_page import dimmed
from segmenter.inference import Predictor
from segmenter.model import Protocol, Segmenter
from segmenter.runtimes.features import TorchFeatures
from tests.helpers.band_images import make_values, npy_bytes, spec_of
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_pair
from tests.helpers.models import make_spec


@pytest.fixture(autouse=True)
def _in_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast tests compute features in torch: another runtime takes longer to open a model."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(suggest, "feature_runtime", TorchFeatures)


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


@pytest.mark.slow
def test_the_bundled_model_ranks_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate("ab"):
        write_pair(tmp_path / "images" / f"{name}.png", None, seed)
    assert run("suggest", str(tmp_path), "--model", "street") == 0
    assert "   2. " in capsys.readouterr().out


def test_the_page_shows_the_images_in_their_order(root: Path, tmp_path: Path) -> None:
    model, report, out = (str(tmp_path / name) for name in ("tiny.safetensors", "page", "a.json"))
    assert run("suggest", str(root), "--model", model, "--report", report, "--json", out) == 0
    page = Path(report, "index.html").read_text()
    first, second = json.loads(Path(out).read_text())["images"]
    assert "2 images to label next" in page
    assert page.index(f'1. <a href="http://127.0.0.1:8000/#{first["image"]}"') < page.index(
        f'2. <a href="http://127.0.0.1:8000/#{second["image"]}"'
    )
    assert first["reason"] in page
    assert page.count("data:image/jpeg") == 4


@pytest.mark.parametrize(("confidence", "is_unsure"), [(0.98, False), (0.8, True)])
def test_a_model_is_unsure_of_no_image_that_it_is_nearly_certain_of(
    confidence: float, is_unsure: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def certain(_: Predictor, path: Path) -> np.ndarray:
        return np.full((2, 2), confidence - 0.02 * (path.stem == "c"), np.float32)

    monkeypatch.setattr(Predictor, "confidence", certain)
    predictor = Predictor(str(root.parent / "tiny.safetensors"), runtime="torch")
    images = {name: root / "images" / f"{name}.png" for name in "abc"}
    found = suggest.suggest(images, {}, predictor, 3)
    assert any("unsure" in each.reason for each in found) is is_unsure


def test_the_page_shows_images_of_other_bands_and_bits(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in "ab":
        values = make_values(48, 64)
        (tmp_path / "images" / f"{name}.npy").write_bytes(npy_bytes(values))
    spec = make_spec(3, decoder="multi-linear", in_channels=4)
    protocol, classes = Protocol(short_side=48), spec.classes.with_image(spec_of(values))
    spec = spec.model_copy(update={"protocol": protocol, "classes": classes})
    save(Segmenter(spec), tmp_path / "bands.safetensors")
    model, report = str(tmp_path / "bands.safetensors"), str(tmp_path / "page")
    assert run("suggest", str(tmp_path), "--model", model, "--report", report) == 0
    assert Path(report, "index.html").read_text().count("data:image/jpeg") == 4


def test_the_json_is_written_where_the_page_cannot_be(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Path:
        raise UserError("a.png is gone")

    monkeypatch.setattr(suggest, "write_page", fail)
    model, report, out = (str(tmp_path / name) for name in ("tiny.safetensors", "page", "a.json"))
    line = refused(
        capsys, "suggest", str(root), "--model", model, "--report", report, "--json", out
    )
    assert "a.png is gone" in line
    assert json.loads(Path(out).read_text())["images"]


def test_pixels_are_dark_where_the_model_is_certain() -> None:
    image = np.full((1, 2, 3), 200, np.uint8)
    assert dimmed(image, np.array([[1, 0]], np.float32))[0, :, 0].tolist() == [50, 200]


def label_everything(root: Path) -> None:
    for name in "ac":
        write_pair(root / "images" / f"{name}.png", root / "masks" / f"{name}.png")


def remove_the_images(root: Path) -> None:
    shutil.rmtree(root / "images")


def empty_the_images(root: Path) -> None:
    for each in (root / "images").iterdir():
        each.unlink()


def cut_an_image(root: Path) -> None:
    image = root / "images" / "a.png"
    image.write_bytes(image.read_bytes()[:60])


def break_the_model(root: Path) -> None:
    (root.parent / "tiny.safetensors").write_bytes(b"cut")


def put_a_page_there(root: Path) -> None:
    (root.parent / "page").mkdir()
    (root.parent / "page" / "index.html").write_text("mine")


MISTAKES = {
    "all labelled": (label_everything, "has a mask; none is left to label"),
    "no folder": (lambda root: shutil.rmtree(root), "no such folder"),
    "no folder of images": (remove_the_images, "has no folder 'images'"),
    "no image": (empty_the_images, "no image"),
    "a damaged image": (cut_an_image, "a.png"),
    "a damaged model": (break_the_model, "tiny.safetensors"),
    "a page in the way": (put_a_page_there, "--overwrite"),
}


@pytest.mark.parametrize(("change", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(
    change: Callable[[Path], None],
    expected: str,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(root)
    model, report = str(tmp_path / "tiny.safetensors"), str(tmp_path / "page")
    line = refused(capsys, "suggest", str(root), "--model", model, "--report", report)
    assert expected in line
