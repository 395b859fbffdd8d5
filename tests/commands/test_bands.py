"""Images of several bands from the first command to the last: check, train, predict, evaluate."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segmenter
from segmenter.checkpoints import save
from segmenter.data.decoding.decode import decode_image
from segmenter.extras.labelling.label_service import LabelService
from segmenter.image_spec import ImageType, choose_bands
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.runtimes.features import TorchFeatures
from tests.helpers.band_images import make_values, npy_bytes, tiff_bytes, write_band_set
from tests.helpers.command_line import TINY_RUN, refused, run
from tests.helpers.models import decided, make_band_spec, make_spec

pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

ANY_IMAGE = choose_bands("all", ImageType(4, "uint16"))


@pytest.fixture(scope="module")
def band_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_band_set(tmp_path_factory.mktemp("bands"))
    save(Segmenter(make_spec(3, depth=3)), root / "start.safetensors")
    (root / "tiny.yaml").write_text(TINY_RUN.format(root=root))
    return root


@pytest.fixture(scope="module")
def trained(band_set: Path) -> Path:
    assert run("train", str(band_set / "tiny.yaml"), "--out", str(band_set / "run")) == 0
    return band_set / "run" / "last.safetensors"


def test_check_says_bands_type_and_range(band_set: Path, capsys: pytest.CaptureFixture) -> None:
    report = band_set / "check.json"
    assert run("check", str(band_set), "--json", str(report), "--workers", "0") == 0
    printed = capsys.readouterr().out
    assert "images: 4 bands of uint16" in printed
    image = json.loads(report.read_text())["image"]
    assert image["bands"] == [1, 2, 3, 4]
    values = np.concatenate(
        [
            decode_image(path, image=ANY_IMAGE).reshape(-1, 4)
            for path in sorted((band_set / "images" / "train").iterdir())
        ]
    )
    np.testing.assert_allclose(image["low"], np.percentile(values, 1, axis=0), atol=25)
    np.testing.assert_allclose(image["high"], np.percentile(values, 99, axis=0), atol=25)


def test_training_stores_what_images_the_model_wants(trained: Path, band_set: Path) -> None:
    image = segmenter.load(trained).spec.image
    assert str(image) == "4 bands of uint16"
    assert image.low == tuple(json.loads((band_set / "check.json").read_text())["image"]["low"])


def test_predict_and_evaluate_read_all_bands(
    trained: Path, band_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images = band_set / "images" / "val"
    given = ("--model", str(trained), "--out", str(tmp_path / "out"), "--runtime", "torch")
    assert run("predict", str(images), *given) == 0
    path = images / "tile-0.tif"
    labels = np.array(Image.open(tmp_path / "out" / "tile-0_label.png"))
    np.testing.assert_array_equal(labels, Predictor(trained, runtime="torch")(path))
    assert (tmp_path / "out" / "tile-0_overlay.jpg").stat().st_size > 0
    capsys.readouterr()
    assert run("evaluate", str(trained), str(band_set), "--split", "val") == 0
    assert "mIoU" in capsys.readouterr().out


def test_a_comparison_shows_each_model_the_bands_it_takes(band_set: Path, tmp_path: Path) -> None:
    given = ImageType(4, "uint16")
    for bands in (1, 2, 3), (1, 2, 3, 4):
        model = decided(Segmenter(make_band_spec(choose_bands(bands, given))))
        save(model, tmp_path / f"{len(bands)}.safetensors")
    sides = (str(tmp_path / f"{count}.safetensors") for count in (3, 4))
    page = ("--report", str(tmp_path / "report"))
    assert run("compare", *sides, str(band_set), "--split", "val", *page) == 0
    assert "<h3>val/tile-" in (tmp_path / "report" / "index.html").read_text("utf-8")


@pytest.mark.slow
def test_an_exported_graph_takes_the_values_of_the_files(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra export")
    graph = tmp_path / "model.onnx"
    assert run("export", str(trained), "--out", str(graph)) == 0
    values = np.random.default_rng(0).integers(0, 5000, (64, 80, 4)).astype(np.uint16)
    found, expected = (
        Predictor(each, runtime=runtime, precision="float32")(values)
        for each, runtime in ((graph, "onnxruntime"), (trained, "torch"))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_triton_is_told_the_channels(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra export")
    assert run("export", str(trained), "--format", "triton", "--out", str(tmp_path / "model")) == 0
    config = (tmp_path / "model" / "config.pbtxt").read_text()
    assert "data_type: TYPE_FP32 dims: [ 4, -1, -1 ]" in config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff_bytes(make_values(bands=3)), "has 3 bands of uint16, but images with 4 bands"),
        (npy_bytes(make_values(dtype="float32")), "has 4 bands of float32, but images with 4"),
    ],
    ids=["bands", "type"],
)
def test_a_model_refuses_other_images_in_one_line(
    trained: Path, tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "other.tif"
    path.write_bytes(content)
    given = ("--model", str(trained), "--out", str(tmp_path / "out"), "--runtime", "torch")
    assert run("predict", str(path), *given) != 0
    assert message in capsys.readouterr().err


def test_a_model_refuses_arrays_of_another_type(trained: Path) -> None:
    with pytest.raises(segmenter.UserError, match=r"takes 4 bands of uint16.*got uint8"):
        Predictor(trained, runtime="torch")(np.zeros((8, 8, 4), np.uint8))


def test_an_image_of_other_bands_stops_training(
    band_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = write_band_set(tmp_path / "mixed")
    odd = root / "images" / "train" / "tile-2.tif"
    odd.write_bytes(tiff_bytes(make_values(64, 64, bands=3)))
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY_RUN.format(root=band_set).replace(f"root: {band_set}", f"root: {root}"))
    error = refused(capsys, "train", str(recipe), "--out", str(tmp_path / "run"))
    assert "tile-2.tif has 3 bands of uint16, but the data set begins with" in error


def test_bands_are_chosen_by_a_flag(band_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("--data.bands", "[4,2]", "--out", str(out))
    assert run("train", str(band_set / "tiny.yaml"), *arguments) == 0
    model = segmenter.load(out / "last.safetensors")
    assert model.spec.image.bands == (4, 2)
    assert model.spec.encoder.in_channels == 2


@pytest.mark.parametrize(
    ("bands", "message"),
    [("[9]", "has band 9, but the images have 4 bands"), ("[]", "data.bands"), ("x", "data.bands")],
)
def test_bands_that_are_not_there_are_refused(
    band_set: Path, tmp_path: Path, bands: str, message: str, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("--data.bands", bands, "--out", str(tmp_path / "run"))
    assert message in refused(capsys, "train", str(band_set / "tiny.yaml"), *arguments)


@pytest.mark.slow
def test_fit_and_suggest_use_all_bands(
    band_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = ("--from", str(band_set / "start.safetensors"), "--short-side", "64")
    out = tmp_path / "fitted.safetensors"
    assert run("fit", str(band_set), *given, "--out", str(out)) == 0
    assert "images: 4 bands of uint16" in capsys.readouterr().err
    image = segmenter.load(out).spec.image
    assert str(image) == "4 bands of uint16"
    path = band_set / "images" / "val" / "tile-0.tif"
    labels = Predictor(out, runtime="torch", precision="float32")(path)
    truth = np.array(Image.open(band_set / "masks" / "val" / "tile-0.png"))
    assert (labels == truth).mean() > 0.5
    (tmp_path / "new" / "images").mkdir(parents=True)
    for number in range(2):
        values = make_values(64, 64)[:, :: 1 - 2 * number].copy()
        (tmp_path / "new" / "images" / f"{number}.tif").write_bytes(tiff_bytes(values))
    assert run("suggest", str(tmp_path / "new"), "--model", str(out)) == 0
    assert "1. " in capsys.readouterr().out


def test_fit_sees_the_bands_that_are_chosen(
    band_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("segmenter.api.run_fit.feature_runtime", TorchFeatures)  # no compiling
    given = ("fit", str(band_set), "--from", str(band_set / "start.safetensors"))
    given += ("--short-side", "64", "--out", str(tmp_path / "fitted.safetensors"))
    assert run(*given, "--bands", "4", "2") == 0
    assert segmenter.load(tmp_path / "fitted.safetensors").spec.image.bands == (4, 2)
    capsys.readouterr()
    for words, message in (
        (("9",), "bands has band 9, but the images have 4 bands of uint16"),
        (
            ("x",),
            "--bands takes a whole number from 1 for each band, such as 4 3 2, or all, got 'x'",
        ),
    ):
        assert message in refused(capsys, *given, "--overwrite", "--bands", *words)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[np.ndarray]:
    """The first image of each page of `label` that is served, as the page shows it."""
    client = pytest.importorskip(
        "starlette.testclient", reason="needs starlette, of the extra serve"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "segmenter.extras.labelling.fit_assistant.feature_runtime", TorchFeatures
    )  # no compiling
    seen = []

    def look(service: LabelService, host: str, port: int) -> None:
        with client.TestClient(service.application(), f"http://{host}:{port}") as page:
            name = page.get("/api/folder").json()["images"][0]["name"]
            answer = page.get("/api/pixels", params={"image": name})
            assert answer.status_code == 200, answer.text
            seen.append(np.array(Image.open(io.BytesIO(answer.content))))

    monkeypatch.setattr("segmenter.extras.serving.server.run_server", look)
    return seen


@pytest.mark.parametrize("bands", [(), ("--bands", "4", "3", "2"), ("--bands", "4")])
def test_the_page_to_label_shows_three_of_the_bands(
    band_set: Path, looked_at: list[np.ndarray], bands: tuple[str, ...]
) -> None:
    assert run("label", str(band_set), "--from", str(band_set / "start.safetensors"), *bands) == 0
    numbers = tuple(map(int, bands[1:])) or (1, 2, 3)
    path = min((band_set / "images" / "train").iterdir())
    values = decode_image(path, image=ANY_IMAGE)[:, :, [each - 1 for each in numbers]]
    low, high = values.min(axis=(0, 1)), values.max(axis=(0, 1))
    expected = np.broadcast_to((values - low) / (high - low), (64, 64, 3)) * 255
    assert np.abs(looked_at[0] - expected).mean() < 10


def test_the_page_to_label_shows_what_a_model_sees(
    band_set: Path, trained: Path, looked_at: list[np.ndarray], capsys: pytest.CaptureFixture
) -> None:
    assert run("label", str(band_set), "--model", str(trained), "--runtime", "torch") == 0
    assert looked_at[0].shape == (64, 64, 3)
    start = str(band_set / "start.safetensors")
    error = refused(capsys, "label", str(band_set), "--model", start)
    assert "tile-0.tif has 4 bands of uint16, and " in error
    assert "takes RGB of 8 bits; give a model that was made for such images" in error
    error = refused(capsys, "label", str(band_set), "--model", str(trained), "--bands", "1")
    assert "--bands and --model contradict" in error


def test_explain_shows_three_of_the_bands(trained: Path, band_set: Path, tmp_path: Path) -> None:
    path = band_set / "images" / "val" / "tile-0.tif"
    assert run("explain", str(path), "--model", str(trained), "--out", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "index.html").stat().st_size > 0


def test_what_takes_only_rgb_says_what_to_do(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    error = refused(
        *(capsys, "export", str(trained), "--format", "web", "--out", str(tmp_path / "web"))
    )
    assert "pages in a browser need a model of RGB" in error
    assert "use `segmenter serve`" in error
