"""Labels that a model contradicts: planted faults come first, and noise beside borders does not."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segmenter
from segmenter.checkpoints import save
from segmenter.classes import read_classes
from segmenter.data.folder import open_folder, read_sample
from segmenter.errors import PARTLY_DONE
from segmenter.extras.checking import check_data_set, doubtful_labels, label_reference
from segmenter.extras.checking.doubtful_labels import Doubts, find_doubts, num_steps
from segmenter.extras.checking.label_reference import ModelReference, fit_reference
from segmenter.inference.labels import Quantity
from segmenter.inference.predictor import Quantities
from segmenter.model import Segmenter
from segmenter.runtimes.features import TorchFeatures
from tests.helpers.command_line import refused, run
from tests.helpers.drawn_items import CLASSES_YAML, draw_mask, write_item
from tests.helpers.models import decided, make_classes, make_spec
from tests.helpers.planted_faults import cut, kinds
from tests.helpers.predictions import ReadsImage

SIZE = (96, 128)
NAMES = [f"train/{letter}" for letter in "abcdefghijkl"]


class KnowsTruth(ReadsImage):
    """Gives the class in the red channel a probability of 0.8, in two bands of rows."""

    def rows(self, image: np.ndarray, *wanted: Quantity) -> Iterator[tuple[slice, Quantities]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert wanted == ("probabilities",)
        for rows in (slice(0, 40), slice(40, len(image))):
            is_class = image[rows, :, 0] == np.arange(3)[:, None, None]
            yield rows, {"probabilities": np.where(is_class, 0.8, 0.1).astype(np.float32)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images whose red channel is the class of each pixel, and their masks."""
    for seed, name in enumerate(NAMES):
        mask = draw_mask(seed, SIZE)
        image = np.repeat(_classes(mask)[:, :, None], 3, axis=2)
        write_item(tmp_path, name, image, mask)
    (tmp_path / "classes.yaml").write_text(CLASSES_YAML)
    return tmp_path


def _classes(mask: np.ndarray) -> np.ndarray:
    return np.searchsorted([0, 3, 9], mask).astype(np.uint8)


def _plant(root: Path, name: str, mask: np.ndarray) -> None:
    image = np.repeat(_classes(draw_mask(NAMES.index(name), SIZE))[:, :, None], 3, axis=2)
    write_item(root, name, image, mask)


def _found(root: Path) -> Doubts:
    folder = open_folder(root)
    predictor = KnowsTruth(make_classes(3))
    return find_doubts(ModelReference(predictor, "known"), folder.splits, folder.classes)


def test_right_labels_raise_no_doubt(root: Path) -> None:
    found = _found(root)
    assert (found.regions, found.images, found.num_images) == ((), (), len(NAMES))


def test_a_swapped_region_is_found_with_its_box_and_classes(root: Path) -> None:
    mask = draw_mask(0, SIZE)
    mask[mask == 3] = 9
    _plant(root, NAMES[0], mask)
    (doubt,) = _found(root).regions
    rows, columns = np.nonzero(draw_mask(0, SIZE) == 3)
    left, top, width, height = doubt.region.box
    assert Path(doubt.item.image).stem == "a"
    assert (doubt.region.label, doubt.region.predicted) == (2, 1)
    assert abs(left - columns.min()) <= 1
    assert abs(top - rows.min()) <= 1
    assert abs(width - np.ptp(columns)) <= 2
    assert abs(height - np.ptp(rows)) <= 2


def test_a_missing_object_ranks_above_an_uncertain_border(root: Path) -> None:
    missing, eroded = draw_mask(1, SIZE), draw_mask(2, SIZE)
    missing[missing == 9] = 0
    inner = np.roll(eroded, 1, axis=0) == eroded
    eroded[~inner] = 0
    _plant(root, NAMES[1], missing)
    _plant(root, NAMES[2], eroded)
    first, *others = _found(root).regions
    assert first.item.image.stem == "b"
    assert (first.region.label, first.region.predicted) == (0, 2)
    assert all(other.region.score < first.region.score / 5 for other in others)


def test_a_moved_mask_is_named_with_its_shift(root: Path) -> None:
    _plant(root, NAMES[3], np.roll(draw_mask(3, SIZE), (0, 6), axis=(0, 1)))
    (image,) = _found(root).images
    assert image.item.image.stem == "d"
    assert image.shift == (6, 0)
    assert "moved by 6 pixels left fits the model better" in image.reason


def test_the_mask_of_another_image_is_doubted_as_a_whole(root: Path) -> None:
    _plant(root, NAMES[4], np.where(np.indices(SIZE)[0] % 40 < 20, 3, 9).astype(np.uint8))
    (image,) = _found(root).images
    assert image.item.image.stem == "e"
    assert image.shift is None
    assert "perhaps a mask of another image" in image.reason


def test_no_more_regions_are_kept_than_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES[:3]:
        _plant(root, name, np.zeros(SIZE, dtype=np.uint8))
    whole = _found(root).regions
    monkeypatch.setattr(doubtful_labels, "NUM_KEPT", 2)
    assert len(whole) > 2
    assert _found(root).regions == whole[:2]


def test_an_image_without_a_readable_mask_is_skipped_and_counted(root: Path) -> None:
    (root / "masks" / f"{NAMES[0]}.png").write_bytes(b"no image")
    found = _found(root)
    assert (found.num_images, found.num_skipped) == (len(NAMES) - 1, 1)


def test_ignored_pixels_raise_no_doubt(root: Path) -> None:
    (root / "classes.yaml").write_text(CLASSES_YAML + "ignore: [255]\n")
    mask = draw_mask(0, SIZE)
    mask[20:70] = 255
    _plant(root, NAMES[0], mask)
    assert _found(root).regions == ()


def test_progress_counts_each_image_that_the_model_sees(root: Path) -> None:
    folder, calls = open_folder(root), []
    predictor = KnowsTruth(make_classes(3))
    reference = ModelReference(predictor, "known")
    find_doubts(reference, folder.splits, folder.classes, lambda: calls.append(1))
    assert len(calls) == num_steps(len(NAMES)) == 2 * len(NAMES)


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder to fit to, computed in torch, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(label_reference, "feature_runtime", TorchFeatures)
    torch.manual_seed(0)
    start = tmp_path / "start.safetensors"
    save(Segmenter(make_spec(3, patch_size=8)), start)
    monkeypatch.setattr(check_data_set, "DEFAULT_START", str(start))
    return start


@pytest.mark.usefixtures("fitted")
def test_without_a_model_fits_to_the_other_images_find_a_fault(root: Path) -> None:
    mask = draw_mask(0, SIZE)
    mask[mask == 3] = 9
    _plant(root, NAMES[0], mask)
    found = segmenter.check(root, doubts=True, workers=0).doubts
    assert found is not None
    assert found.regions[0].item.image.stem == "a"
    assert found.regions[0].region.predicted == 1
    assert found.num_images == len(NAMES)


def test_an_image_is_compared_with_a_fit_that_does_not_know_it(root: Path, fitted: Path) -> None:
    folder = open_folder(root)
    items = list(folder.items("train"))
    reference = fit_reference(
        items, folder.classes, str(root), str(fitted), torch.device("cpu"), lambda _: None
    )
    assert len({id(reference.fits[item]) for item in items}) == 5  # folds of neighbours
    pixels = read_sample(items[0], folder.classes).image
    rows = list(reference.rows(items[0], pixels))
    assert sum(len(range(*each.indices(SIZE[0]))) for each, _ in rows) == SIZE[0]
    whole = np.concatenate([found for _, found in rows], axis=1)
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-5)
    assert (whole.argmax(axis=0) == reference.labels(items[0], pixels)).mean() > 0.999


def test_what_only_fit_offers_for_thin_classes_is_not_advised(root: Path, fitted: Path) -> None:
    folder, said = open_folder(root), list[str]()
    for name in NAMES:
        labels = np.full(SIZE, 3, np.uint8)
        labels[:, ::16] = 9
        _plant(root, name, labels)
    items = folder.items("train")
    fit_reference(items, folder.classes, str(root), str(fitted), torch.device("cpu"), said.append)
    assert any("is the thinnest class" in line for line in said)
    assert not any("--shifts" in line for line in said)


@pytest.mark.usefixtures("fitted")
def test_images_and_masks_with_errors_are_found_and_not_compared(root: Path) -> None:
    cut("images/train/b.png")(root)
    Image.fromarray(draw_mask(2)[:32, :32]).save(root / "masks/train/c.png")
    found = segmenter.check(root, doubts=True, workers=0)
    assert {"unreadable-photo", "size-differs"} <= set(kinds(found))
    assert found.doubts is not None
    assert (found.doubts.num_images, found.doubts.num_skipped) == (len(NAMES) - 2, 2)


@pytest.mark.usefixtures("fitted")
def test_findings_are_written_where_one_labelled_image_is_too_few_for_doubts(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in NAMES[1:]:
        (root / "masks" / f"{name}.png").unlink()
    out, page = tmp_path / "a.json", tmp_path / "page"
    outputs = "--json", str(out), "--report", str(page)
    assert run("check", str(root), "--doubts", "--workers", "0", *outputs) == PARTLY_DONE
    shown = capsys.readouterr()
    (warning,) = (line for line in shown.err.splitlines() if line.startswith("warning: "))
    assert "need two images with labels without a model" in warning
    assert "images without a mask (11)" in shown.out
    assert "doubtful_labels" not in json.loads(out.read_text())
    assert (page / "index.html").exists()


@pytest.mark.usefixtures("in_torch")
def test_a_model_of_other_classes_is_refused(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = tmp_path / "tiny.safetensors"
    save(Segmenter(make_spec(3)), model)
    said = refused(capsys, "check", str(clean), "--model", str(model))
    assert "give a --model with the classes of the data, in their order" in said


@pytest.mark.usefixtures("in_torch")
def test_terminal_json_and_page_show_doubts_and_the_command_ends_as_without_a_model(
    clean: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    model, out, page = tmp_path / "tiny.safetensors", tmp_path / "a.json", tmp_path / "page"
    spec = make_spec(3).model_copy(update={"classes": read_classes(clean / "classes.yaml")})
    save(decided(Segmenter(spec)), model)
    arguments = ("--model", str(model), "--json", str(out), "--report", str(page))
    assert run("check", str(clean), "--workers", "0", *arguments) == 0
    doubts = json.loads(out.read_text())["doubtful_labels"]
    assert (doubts["compared"], doubts["skipped"]) == (5, 0)
    first = doubts["regions"][0]
    box = ",".join(map(str, first["box"]))
    assert first["link"] == f"/?box={box}#{first['image']}"
    assert first["label"] != first["predicted"]
    scores = [region["score"] for region in doubts["regions"]]
    assert scores == sorted(scores, reverse=True)
    assert f"{len(scores)} regions" in capsys.readouterr().out
    html = (page / "index.html").read_text()
    assert f'href="http://127.0.0.1:8000{first["link"]}"' in html
    assert html.count("<figcaption>Prediction</figcaption>") == min(len(scores), 20)
    again = segmenter.check(clean, workers=0, model=model)
    assert again.doubts is not None
    assert again.doubts.to_json() == doubts
    assert again.doubts.summary in repr(again)
