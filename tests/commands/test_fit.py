"""`segmenter fit`: from masks, whole or partial, to an ordinary model file and an estimate."""

import itertools
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

import segmenter
from segmenter.checkpoints import save
from segmenter.data.folder import Item
from segmenter.data.trained_on import read_trained_on
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import count_agreement
from segmenter.fitting.tune import Tuning
from segmenter.model import Protocol, Segmenter
from segmenter.recipe import read_recipe
from segmenter.runtimes.features import TorchFeatures
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_classes, make_spec

FIT = ("fit", "data", "--from", "start.safetensors", "--short-side", "64", "--out")

NOTHING_RIGHT = count_agreement(
    [(Item("a", Path("a"), None), np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8))],
    make_classes(3),
    Protocol(),
)
"""Scores of a model that is always wrong."""

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a data set and a random model to start from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("segmenter.api.run_fit.feature_runtime", TorchFeatures)  # no compiling
    write_data_set(Path("data"))
    torch.manual_seed(0)
    save(Segmenter(make_spec(3, patch_size=8)), "start.safetensors")


def masks() -> list[Path]:
    return sorted(Path("data/masks/train").iterdir())


def paint(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels.astype(np.uint8)).save(path)


def labels_of(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_the_model_labels_new_images(capsys: pytest.CaptureFixture) -> None:
    assert run(*FIT, "model.safetensors", "--json", "fit.json") == 0
    said = capsys.readouterr().out
    assert "estimate for new images, from 4 images, each left out of its fit" in said
    assert "written: model.safetensors" in said
    found = json.loads(Path("fit.json").read_text())
    score = segmenter.evaluate("model.safetensors", "data", split="val").miou
    assert score is not None
    assert score > 0.8
    assert found["estimate"]["miou"] > 0.8
    spec = segmenter.load("model.safetensors").spec
    assert spec.scores["images left out"]["miou"] == found["estimate"]["miou"]
    assert spec.provenance == "Decoder fitted to 4 images, the encoder frozen."


@pytest.mark.usefixtures("in_torch")
def test_evaluating_on_the_images_of_the_fit_warns(capsys: pytest.CaptureFixture) -> None:
    assert run(*FIT, "model.safetensors") == 0
    capsys.readouterr()
    assert run("evaluate", "model.safetensors", "data", "--split", "train") == 0
    assert "4 of 4 images were trained on" in capsys.readouterr().err
    assert run("check", "data", "--model", "model.safetensors") in {0, 3}
    assert "4 of 8 images were trained on" in capsys.readouterr().err
    assert run("evaluate", "model.safetensors", "data", "--split", "val") == 0
    assert "trained on" not in capsys.readouterr().err


def test_training_from_a_fitted_model_keeps_its_decoder(capsys: pytest.CaptureFixture) -> None:
    assert run(*FIT, "model.safetensors") == 0
    settings = (
        "--schedule.warmup_steps 0 --schedule.steps 1 --batch_size 2 --workers 0 "
        "--optimizer.frozen_blocks 0 --augment.crop_size 32"
    )
    command = ("train", "--data", "data", "--from", "model.safetensors", "--out", "run")
    capsys.readouterr()
    assert run(*command, *settings.split()) == 0
    said = capsys.readouterr().err
    assert "decoder multi-linear" in said
    assert "start fresh" not in said
    assert "left unused" not in said
    assert read_recipe("run/recipe.yaml").model.decoder.kind == "multi-linear"
    assert len(read_trained_on(Path("run"))) == 4


def test_a_model_of_shifted_views_is_saved_and_labels_alike() -> None:
    segmenter.fit("data", "model.safetensors", start="start.safetensors", short_side=64, shifts=2)
    model = segmenter.load("model.safetensors")
    save(model, "again.safetensors")
    image = np.array(Image.open(next(Path("data/images/val").iterdir())))
    again = segmenter.load("again.safetensors")
    labels = [segmenter.Predictor(each)(image) for each in (model, again)]
    assert (labels[0] == labels[1]).all()
    assert model.spec.decoder.logits_per_patch_side == 2
    score = segmenter.evaluate("again.safetensors", "data", split="val").miou
    assert score is not None
    assert score > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("shifts", [1, 2])
@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_a_fitted_model_is_exported_and_labels_alike(name: str, shifts: Literal[1, 2]) -> None:
    sizes = {"short_side": 64, "shifts": shifts}
    segmenter.fit("data", "model.safetensors", start="start.safetensors", **sizes)
    kind = "openvino" if name.endswith(".xml") else "onnx"
    assert run("export", "model.safetensors", name, "--format", kind) == 0
    image = np.array(Image.open(next(Path("data/images/val").iterdir())))
    expected = segmenter.Predictor("model.safetensors", runtime="torch")(image)
    assert (segmenter.Predictor(name)(image) == expected).mean() > 0.999


def test_strokes_are_enough() -> None:
    for path in masks():
        labels = labels_of(path)
        strokes = np.full_like(labels, 255)
        for index in np.unique(labels):
            rows, columns = np.nonzero(labels == index)
            middle = rows == int(np.median(rows))
            strokes[rows[middle], columns[middle]] = index
        paint(path, strokes)
    fitted = segmenter.fit("data", "model.safetensors", start="start.safetensors", short_side=64)
    assert fitted.estimate is not None
    score = segmenter.evaluate(fitted.path, "data", split="val").miou
    assert score is not None
    assert score > 0.7


def test_images_without_labels_are_left_out() -> None:
    first, second, *_ = masks()
    first.unlink()
    paint(second, np.full((64, 64), 255))
    fitted = segmenter.fit("data", "model.safetensors", start="start.safetensors", short_side=64)
    assert fitted.num_images == 2


def test_images_of_all_folders_that_name_no_split_are_used() -> None:
    for folder in Path("data").glob("*/*"):
        folder.rename(folder.with_name({"train": "north", "val": "south"}[folder.name]))
    fitted = segmenter.fit("data", "model.safetensors", start="start.safetensors", short_side=64)
    assert fitted.num_images == 8


def test_a_folder_that_may_be_of_a_split_is_not_used_unasked(capsys: pytest.CaptureFixture) -> None:
    for folder in Path("data").glob("*/*"):
        folder.rename(folder.with_name(f"north_{folder.name}"))
    line = refused(capsys, *FIT, "model.safetensors")
    assert "it has north_train, north_val; name one with --split" in line


def test_a_mask_whose_image_is_gone_is_told_of(capsys: pytest.CaptureFixture) -> None:
    mask = masks()[0]
    Path("data/images/train", mask.name).unlink()
    assert run(*FIT, "model.safetensors") == 0
    said = capsys.readouterr().err
    assert f"warning: masks without an image (1): {mask} has no image" in said
    assert said.count("warning") == 1


def test_one_image_has_no_estimate(capsys: pytest.CaptureFixture) -> None:
    for path in masks()[1:]:
        path.unlink()
    assert run(*FIT, "model.safetensors") == 0
    assert "no estimate" in capsys.readouterr().out


def test_the_class_with_most_errors_an_image_needs_labels() -> None:
    for path in masks()[1:]:
        labels = labels_of(path)
        paint(path, np.where(labels == 1, 255, labels))
    fitted = segmenter.fit("data", "model.safetensors", start="start.safetensors", short_side=64)
    assert fitted.needs == "class-1"


def leave_no_mask() -> None:
    shutil.rmtree("data/masks")
    Path("data/masks/train").mkdir(parents=True)


def leave_one_class() -> None:
    for path in masks():
        labels = labels_of(path)
        paint(path, np.where(labels == 2, 2, 255))


def leave_nothing_labelled() -> None:
    for path in masks():
        paint(path, np.full((64, 64), 255))


def shrink_a_mask() -> None:
    paint(masks()[0], labels_of(masks()[0])[:32])


def make_the_model_before() -> None:
    Path("model.safetensors").touch()


def leave_no_image() -> None:
    for path in Path("data/images").rglob("*.png"):
        path.unlink()


def make_all_values_one_class() -> None:
    Path("data/classes.yaml").write_text("classes:\n- {name: all, values: [0, 1, 2]}\n")


def cut_an_image() -> None:
    image = min(Path("data/images/train").iterdir())
    image.write_bytes(image.read_bytes()[:50])


def damage_the_start() -> None:
    Path("start.safetensors").write_bytes(b"cut")


MISTAKES = {
    "no image": (leave_no_image, "no image in data/images"),
    "one class": (make_all_values_one_class, "are of one class, 'all', and two are needed"),
    "a cut image": (cut_an_image, "1 of 4 labelled images cannot be used; the first: data/images"),
    "a damaged start": (damage_the_start, "start.safetensors is not a checkpoint"),
    "no mask": (leave_no_mask, "mask"),
    "strokes of one class": (leave_one_class, "'class-2', and two are needed"),
    "nothing labelled": (leave_nothing_labelled, "no pixel of the masks of data is labelled"),
    "a mask of another size": (shrink_a_mask, "32 x 64 pixels (height x width)"),
    "a file in the way": (make_the_model_before, "--overwrite"),
}


@pytest.mark.parametrize(("change", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(change, expected: str, capsys: pytest.CaptureFixture) -> None:
    change()
    assert expected in refused(capsys, *FIT, "model.safetensors")
    assert not Path("model.safetensors").is_file() or not Path("model.safetensors").stat().st_size


def test_tuning_that_labels_worse_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoiling(Tuning):
        def train(self, items: Sequence[Item], *_: Any, **__: Any) -> None:
            trained_on.append(len(items))
            self.steps = 1
            torch.nn.init.zeros_(self._average.tensors["decoder.project.weight"])

    trained_on: list[int] = []
    monkeypatch.setattr("segmenter.api.run_fit.Tuning", Spoiling)
    sizes = {"start": "start.safetensors", "short_side": 64}
    tried = segmenter.fit("data", "tried.safetensors", minutes=1.0, json="tried.json", **sizes)
    segmenter.fit("data", "plain.safetensors", **sizes)
    assert not tried.is_tuned
    assert trained_on == [3]
    compared = json.loads(Path("tried.json").read_text())["tuning"]
    assert compared["tuned_miou"] < compared["fitted_miou"]
    weights = [segmenter.load(f"{name}.safetensors").state_dict() for name in ("tried", "plain")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_tuning_that_labels_better_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmenter.api.run_fit._scored", lambda *_: NOTHING_RIGHT)
    clock = itertools.count(step=10)  # seconds
    slow = partial(Tuning, clock=lambda: next(clock))
    monkeypatch.setattr("segmenter.api.run_fit.Tuning", slow)
    fitted = segmenter.fit(
        "data", "model.safetensors", start="start.safetensors", short_side=64, minutes=1.0
    )
    assert fitted.is_tuned
    spec = segmenter.load(fitted.path).spec
    assert spec.provenance == "Decoder and encoder trained on 4 images, from a fit to them."
    assert fitted.num_images == 4
    assert fitted.estimate is not None
    assert len(fitted.estimate.images) == 1  # the one that decided


STOPS = {
    "a lost image": (UserError("no such file: data/images/train/b.png"), "no such file"),
    "Ctrl-C": (KeyboardInterrupt(), "stopped by Ctrl-C"),
}


@pytest.mark.parametrize(("stop", "said"), STOPS.values(), ids=STOPS)
@pytest.mark.parametrize(("num_images", "kept"), [(3, "fitted model"), (4, "model trained so far")])
def test_what_ends_tuning_early_leaves_the_better_model_so_far(
    stop: BaseException,
    said: str,
    num_images: int,
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    class Stopped(Tuning):
        def train(self, items: Sequence[Item], *given: Any, **options: Any) -> None:
            if len(items) == num_images:  # 3 before the model is chosen, 4 after
                raise stop
            super().train(items, *given, **options)

    clock = itertools.count(step=10)  # seconds
    slow = partial(Stopped, clock=lambda: next(clock))
    monkeypatch.setattr("segmenter.api.run_fit.Tuning", slow)
    monkeypatch.setattr("segmenter.api.run_fit._scored", lambda *_: NOTHING_RIGHT)
    fitted = segmenter.fit(
        "data", "model.safetensors", start="start.safetensors", short_side=64, minutes=1.0
    )
    assert fitted.is_tuned == (num_images == 4)
    assert fitted.path.is_file()
    line = capsys.readouterr().err
    assert said in line
    assert f"the {kept} is kept" in line


def test_a_time_too_short_for_a_step_is_said(capsys: pytest.CaptureFixture) -> None:
    assert run(*FIT, "model.safetensors", "--minutes", "0.0000001") == 0
    assert "the time is too short for one step" in capsys.readouterr().err


def test_the_measurements_do_not_replace_the_model(capsys: pytest.CaptureFixture) -> None:
    line = refused(capsys, *FIT, "a.safetensors", "--json", "a.safetensors", "--overwrite")
    assert "--json names a.safetensors, which the model is written to" in line
    refused(capsys, *FIT, "a.safetensors", "--json", "a.trained-on.txt", "--overwrite")


def test_a_class_thinner_than_a_patch_is_named_with_what_helps(
    capsys: pytest.CaptureFixture,
) -> None:
    for path in masks():
        labels = np.zeros((64, 64))
        labels[:, ::16], labels[:, 30:40] = 1, 2
        paint(path, labels)
    hint = "'class-1' is typically 0.1 patches wide: --shifts 2 makes tokens twice as fine"
    assert run(*FIT, "model.safetensors") == 0
    assert hint in capsys.readouterr().err
    assert run(*FIT, "finer.safetensors", "--shifts", "2") == 0
    assert "--shifts" not in capsys.readouterr().err


@pytest.mark.parametrize("shifts", ["0", "3"])
def test_a_number_of_shifts_that_is_not_offered_is_refused(
    shifts: str, capsys: pytest.CaptureFixture
) -> None:
    assert "shifts" in refused(capsys, *FIT, "model.safetensors", "--shifts", shifts)
    with pytest.raises(UserError, match="shifts"):
        segmenter.fit("data", "model.safetensors", shifts=int(shifts))  # pyright: ignore[reportArgumentType]
