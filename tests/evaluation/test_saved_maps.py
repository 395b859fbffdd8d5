"""Saved label maps are scored as the model that wrote them; what does not fit is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import decided, make_spec

SCORE = ["evaluate", "maps", "data", "--split", "val"]


@pytest.fixture
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a data set, a model, and its predictions of `val` in `maps`."""
    monkeypatch.chdir(tmp_path)
    write_data_set(Path("data"))
    save(decided(Segmenter(make_spec()).eval()), "model.safetensors")
    predict = ["predict", "data/images/val", "--model", "model.safetensors", "--runtime", "torch"]
    assert run(*predict, "--precision", "float32", "--out", "maps") == 0
    return tmp_path / "maps"


def evaluated(*arguments: str) -> dict:
    assert run(*arguments, "--json", "e.json", "--overwrite") == 0
    return json.loads(Path("e.json").read_text())


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace a label map by what a function makes of its numbers."""
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


def test_saved_maps_score_as_the_model_that_wrote_them(maps: Path) -> None:
    model = evaluated("evaluate", "model.safetensors", "data", "--split", "val", "--statistics")
    found = evaluated(*SCORE, "--statistics", "--report", "page")
    for key in ("confusion", "classes", "miou", "kappa", "intervals", "images", "photo_miou"):
        assert found[key] == model[key]
    assert found["statistics"] == {
        key: model["statistics"][key] for key in ("boundary", "object_size")
    }
    assert (found["maps"], found["ids"]) == ("maps", "index")
    page = Path("page/index.html").read_text("utf-8")
    assert "Boundaries and objects" in page
    assert "Confidence" not in page
    assert maps.is_dir()


def test_a_folder_with_weights_is_a_model(maps: Path) -> None:
    folder = maps.parent / "hub"
    folder.mkdir()
    Path("model.safetensors").rename(folder / "model.safetensors")
    found = evaluated("evaluate", "hub", "data", "--split", "val")
    assert found["miou"] == evaluated(*SCORE)["miou"]


def test_saved_maps_count_absent_classes_by_the_protocol_of_the_model(
    maps: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in [*Path("data/masks").rglob("*.png"), *maps.glob("*_label.png")]:
        rewrite(path, lambda labels: labels.clip(0, 1))
    skipped, one = evaluated(*SCORE), evaluated(*SCORE, "--protocol", "paddleseg")
    assert skipped["classes"]["class-2"]["iou"] is None
    assert one["classes"]["class-2"]["iou"] == 1
    assert one["absent_classes"] == "one"
    said = capsys.readouterr().out
    assert "neither in truth nor predicted, left out: class-2" in said
    assert "neither in truth nor predicted, counted as an IoU of 100.00 %: class-2" in said


@pytest.mark.parametrize("name", ["{}.png", "val/{}.png", "{}_pred.png", "seg-{}-v1.png"])
def test_maps_of_other_tools_are_found_by_their_names(name: str, maps: Path) -> None:
    expected = evaluated(*SCORE)["confusion"]
    other = maps.parent / "other"
    for path in sorted(maps.glob("*_label.png")):
        renamed = other / name.format(path.name.removesuffix("_label.png"))
        renamed.parent.mkdir(parents=True, exist_ok=True)
        path.rename(renamed)
    assert evaluated("evaluate", "other", "data", "--split", "val")["confusion"] == expected


def test_maps_of_mask_values_are_read_with_ids_source(maps: Path) -> None:
    expected = evaluated(*SCORE)["confusion"]
    classes = Path("data/classes.yaml")
    classes.write_text(
        "classes: [{name: class-0, values: [10]}, {name: class-1, values: [20]}, "
        "{name: class-2, values: [30]}]"
    )
    for path in [*Path("data/masks").rglob("*.png"), *maps.glob("*_label.png")]:
        rewrite(path, lambda labels: labels.astype(np.uint8) * 10 + 10)
    assert evaluated(*SCORE, "--ids", "source")["confusion"] == expected


def test_where_the_truth_is_ignored_a_map_may_hold_anything(maps: Path) -> None:
    for folder in (Path("data/masks/val"), maps):
        for path in folder.glob("*.png"):
            if not path.stem.endswith("_overlay"):
                rewrite(path, lambda labels: np.where(np.arange(64) < 5, 255, labels).astype("u1"))
    assert sum(map(sum, evaluated(*SCORE)["confusion"])) == 4 * 64 * 59


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda x: x[:32], (), r"has 32 x 64 pixels \(height x width\), but data/masks"),
        (
            lambda x: x * 0 + 7,
            (),
            "holds 7 at 4096 pixels .* is not a class index, 0 to 2; give --ids",
        ),
        (lambda x: x * 0 + 7, ("--ids", "source"), "holds 7 at 4096 .* belongs to no class"),
        (lambda x: np.stack([x, x, x + 1], axis=2), (), "is a picture in colours"),
    ],
)
def test_maps_that_do_not_fit_are_refused(
    change: Callable[[np.ndarray], np.ndarray],
    arguments: tuple[str, ...],
    message: str,
    maps: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    rewrite(sorted(maps.glob("*_label.png"))[0], change)
    capsys.readouterr()
    said = refused(capsys, *SCORE, *arguments)
    assert re.search(message, said)


def test_missing_maps_are_counted_and_the_first_is_named(
    maps: Path, capsys: pytest.CaptureFixture
) -> None:
    for path in sorted(maps.glob("*_label.png"))[1:]:
        path.unlink()
    capsys.readouterr()
    said = refused(capsys, *SCORE)
    assert "3 of 4 images have no label map in maps; the first: val/photo-1" in said
    Path("empty").mkdir()
    assert "holds no label map" in refused(capsys, "evaluate", "empty", "data", "--split", "val")


@pytest.mark.parametrize(
    "flag",
    [
        "--flip",
        "--threshold=0.3",
        "--label-rule=iou",
        "--window=64",
        "--device=cpu",
        "--temperature-split=train",
    ],
)
def test_options_of_models_are_refused_for_maps(
    flag: str, maps: Path, capsys: pytest.CaptureFixture
) -> None:
    assert maps.is_dir()
    capsys.readouterr()
    said = refused(capsys, *SCORE, flag)
    assert f"{flag.partition('=')[0]} is for models, and maps is a folder of label maps" in said


def test_ids_are_refused_for_a_model(maps: Path, capsys: pytest.CaptureFixture) -> None:
    assert maps.is_dir()
    capsys.readouterr()
    said = refused(capsys, "evaluate", "model.safetensors", "data", "--ids", "source")
    assert "--ids is for a folder of label maps" in said
