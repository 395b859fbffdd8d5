"""A labelled image: the same labels, pictures and files as those of the predictor and `predict`."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.drawing import overlay_with_legend
from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.inference.segmentation import Segmentation
from segmenter.label_files.annotations.annotation_files import SET_FORMATS
from segmenter.label_files.image_outputs import IMAGE_FORMATS
from segmenter.model import Segmenter
from tests.helpers.command_line import run
from tests.helpers.models import decided, make_spec

EVERYTHING = [*IMAGE_FORMATS, *SET_FORMATS]


@pytest.fixture
def model() -> Segmenter:
    return decided(Segmenter(make_spec(depth=1))).eval()


@pytest.fixture
def path(image: np.ndarray, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos/a.png")
    return tmp_path / "photos/a.png"


@pytest.fixture
def found(model: Segmenter, path: Path) -> Segmentation:
    return Predictor(model).segment(path)


def test_labels_and_probabilities_are_those_of_the_predictor(
    model: Segmenter, image: np.ndarray, found: Segmentation
) -> None:
    np.testing.assert_array_equal(found.labels, Predictor(model)(image))
    np.testing.assert_array_equal(found.probabilities, Predictor(model).probabilities(image))
    np.testing.assert_array_equal(found.image, image)


def test_the_model_runs_for_probabilities_only_when_they_are_asked_for(
    model: Segmenter, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(model)
    found = predictor.segment(image)
    passes = []
    run_model = predictor.runtime.patch_logits
    monkeypatch.setattr(
        predictor.runtime, "patch_logits", lambda x: passes.append(x) or run_model(x)
    )
    found.overlay()
    assert not passes
    first = found.probabilities
    assert len(passes) == 1
    assert found.probabilities is first
    assert len(passes) == 1


def test_a_list_gives_a_list(model: Segmenter, image: np.ndarray, path: Path) -> None:
    first, second = Predictor(model).segment([path, image[:40]])
    assert (first.path, second.path) == (path, Path("image.png"))
    np.testing.assert_array_equal(second.labels, Predictor(model)(image[:40]))


def test_a_later_change_of_the_array_changes_nothing(model: Segmenter, image: np.ndarray) -> None:
    found = Predictor(model).segment(image)
    before = image.copy()
    image[:] = 0
    np.testing.assert_array_equal(found.image, before)


def test_shares_are_by_class_the_largest_first(found: Segmentation) -> None:
    assert sorted(found.shares) == ["class-0", "class-1", "class-2"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)
    assert found.shares["class-1"] == (found.labels == 1).mean()


def test_the_overlay_is_that_of_predict(found: Segmentation, image: np.ndarray) -> None:
    expected = overlay_with_legend(image, found.labels, found.classes, opacity=0.3)
    np.testing.assert_array_equal(np.array(found.overlay(opacity=0.3)), expected)
    assert found.overlay(legend=False).size == (90, 60)
    with pytest.raises(UserError, match="opacity must be from 0"):
        found.overlay(opacity=2.0)


def test_saved_files_are_those_of_predict(
    model: Segmenter, found: Segmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(model, "model.safetensors")
    words = "photos/a.png --model model.safetensors --runtime torch --out theirs --save"
    assert run("predict", *words.split(), ",".join(EVERYTHING)) == 0
    paths = found.save("ours", save=EVERYTHING)
    names = {path.name for path in Path("theirs").iterdir() if not path.name.startswith(".")}
    assert {path.name for path in paths} == names
    assert len(names) == len(EVERYTHING)
    for name in names:
        assert (Path("ours") / name).read_bytes() == (Path("theirs") / name).read_bytes(), name


def test_what_is_saved_by_default_is_what_predict_writes_by_default(
    found: Segmentation, tmp_path: Path
) -> None:
    names = [path.name for path in found.save(tmp_path / "out")]
    assert names == ["a_overlay.jpg", "a_label.png"]


def test_saving_again_changes_nothing_and_another_result_is_refused(
    model: Segmenter, image: np.ndarray, tmp_path: Path
) -> None:
    out, predictor = tmp_path / "out", Predictor(model)
    first, other = predictor.segment(image), predictor.segment(image[::-1])
    paths = first.save(out)
    assert first.save(out) == paths
    before = [path.read_bytes() for path in paths]
    with pytest.raises(UserError, match=r"exists with another content; .*overwrite=True"):
        other.save(out)
    assert [path.read_bytes() for path in paths] == before
    other.save(out, overwrite=True)
    assert paths[1].read_bytes() != before[1]


def test_a_refused_save_writes_nothing(found: Segmentation, tmp_path: Path) -> None:
    (tmp_path / "a_label.png").write_text("mine")
    with pytest.raises(UserError, match=r"a_label\.png exists"):
        found.save(tmp_path)
    with pytest.raises(UserError, match="'overlaj' is not known, did you mean 'overlay'"):
        found.save(tmp_path, save="overlaj")
    assert not (tmp_path / "a_overlay.jpg").exists()


def test_coco_of_an_image_is_the_file_that_predict_writes(
    found: Segmentation, tmp_path: Path
) -> None:
    found.save(tmp_path, save="coco,coco-polygons")
    assert found.to_coco() == json.loads((tmp_path / "coco.json").read_text())
    with_outlines = json.loads((tmp_path / "coco-polygons.json").read_text())
    assert found.to_coco(polygons=True) == with_outlines
    assert found.to_coco()["images"][0]["file_name"] == "a.png"


def test_polygons_enclose_the_pixels_of_each_class(found: Segmentation) -> None:
    outlines = found.polygons()
    assert set(outlines) == {name for name, share in found.shares.items() if share}
    for name, regions in outlines.items():
        area = sum(
            _area(region.outer) - sum(_area(hole) for hole in region.holes) for region in regions
        )
        index = found.classes.names.index(name)
        assert area == np.count_nonzero(found.labels == index)


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_a_notebook_shows_a_small_overlay(model: Segmenter, image: np.ndarray) -> None:
    large = Predictor(model).segment(image.repeat(20, axis=0).repeat(20, axis=1))
    with Image.open(BytesIO(large._repr_jpeg_())) as shown:
        assert shown.format == "JPEG"
        assert shown.width == 800
    assert len(large._repr_jpeg_()) < 300_000


def test_the_text_of_a_result_is_one_line_with_size_and_shares(
    found: Segmentation, path: Path
) -> None:
    assert repr(found).startswith(f"Segmentation({path}, 60 x 90: class-")
    assert "\n" not in repr(found)
    assert "%" in repr(found)


def test_a_model_of_other_channels_is_refused(image: np.ndarray) -> None:
    with pytest.raises(UserError, match="this model takes 4"):
        Predictor(Segmenter(make_spec(in_channels=4))).segment(image)


def test_an_image_without_pixels_shows_nothing_and_saves_nothing(
    model: Segmenter, image: np.ndarray, tmp_path: Path
) -> None:
    found = Predictor(model).segment(image[:0])
    assert found._repr_jpeg_() is None
    with pytest.raises(UserError, match=r"image\.png has no pixels"):
        found.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
