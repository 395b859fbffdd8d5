"""A function of the user's own: what it gets, what it may return, and that resuming stays exact."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter import UserError
from segmenter.api import run_training
from segmenter.api.run_recipe import read_run_recipe
from segmenter.data.custom import CustomOperation, find_function, source_digest
from segmenter.data.folder import open_folder
from segmenter.data.loading import SampleStream, make_loader
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform
from segmenter.options import Hardware, RunFolder
from segmenter.recipe import AugmentRecipe, read_recipe

CROP = Sample(np.full((8, 8, 3), 9, np.uint8), np.zeros((8, 8), np.uint8))
MODULE = """
import numpy as np

def noise(image, labels, rng):
    return rng.integers(0, 256, image.shape, dtype=image.dtype), labels[::-1]

def in_place(image, labels, rng):
    image[:], labels[:] = 1, 1
    return image, labels

def fails(image, labels, rng):
    raise KeyError("mask")

def shrinks(image, labels, rng):
    return image[:4], labels[:4]

def converts(image, labels, rng):
    return image / 255, labels

def forgets(image, labels, rng):
    return image

def invents(image, labels, rng):
    return image, labels + 7

def mirror(image, labels, rng):
    labels[0] = 1
    labels[2] = 255
    return image[:, ::-1], labels[:, ::-1]
"""
_SHORT = {"data.root": None}


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module `own_changes` in the current folder, unknown to other tests."""
    path = tmp_path / "own_changes.py"
    path.write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    find_function.cache_clear()
    yield path
    find_function.cache_clear()
    sys.modules.pop("own_changes", None)


def change(name: str) -> Sample:
    return CustomOperation(f"own_changes:{name}", 3, 255)(CROP, np.random.default_rng(0))


def test_a_function_changes_copies_of_image_and_labels() -> None:
    changed = change("in_place")
    assert (changed.image == 1).all()
    assert (changed.labels == 1).all()
    assert (CROP.image == 9).all()
    assert change("noise").labels.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", r"own_changes:fails failed with KeyError: 'mask' \(own_changes\.py, line 12\)"),
        ("shrinks", r"must return an array 8 x 8 x 3 of uint8, got an array 4 x 8 x 3 of uint8"),
        ("converts", r"must return an array 8 x 8 x 3 of uint8, got an array 8 x 8 x 3 of float64"),
        ("forgets", r"must return \(an array 8 x 8 x 3 of uint8, an array 8 x 8 of uint8\), got"),
        ("invents", r"returned label 7; the labels are 0 to 2, and 255 is ignored"),
        ("absent", r"module own_changes has no function absent"),
    ],
)
def test_what_a_function_does_wrong_is_said_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        change(name)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_or_broken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken_changes.py").write_text("import no_such_package")
    for name in ("no_such_module", "broken_changes"):
        with pytest.raises(UserError, match=f"module {name} cannot be imported: ModuleNotFound"):
            find_function(f"{name}:augment")


def test_any_start_and_number_of_workers_gives_the_same_bits(make_folder) -> None:
    folder = open_folder(make_folder(*"abc"))
    items = folder.items("all")
    augment = AugmentRecipe(crop_size=16, custom="own_changes:noise", mix=0.5)
    transform = CropTransform(augment, (0.0,) * 3, ignore_index=255)
    counts = np.ones((3, len(folder.classes)), np.int64)
    stream = SampleStream(items, folder.classes, transform, 5, pixel_counts=counts)
    whole = list(make_loader(stream, range(8), 4))
    (tail,) = make_loader(stream, range(4, 8), 4, workers=1)
    assert all(torch.equal(a, b) for a, b in zip(whole[1], tail, strict=True))
    assert not torch.equal(whole[0].images, tail.images)


def test_the_padding_of_an_image_without_a_mask_moves_with_its_pixels(make_folder) -> None:
    folder = open_folder(make_folder("a"))
    items = folder.items("all")
    augment = AugmentRecipe(
        crop_size=64, scale=(1.0, 1.0), flip=0.0, color="none", custom="own_changes:mirror"
    )
    stream = SampleStream(
        items,
        folder.classes,
        CropTransform(augment, (0.0,) * 3, ignore_index=255),
        5,
        pixel_counts=np.ones((1, len(folder.classes)), np.int64),
        unlabelled=(replace(items[0], mask=None),),
        unlabelled_crops=1.0,
    )
    expected = np.zeros((64, 64), bool)
    expected[:40, -50:] = True  # the image, which the function mirrors
    expected[[0, 2]] = False  # rows that it labels, and ignores
    crop = stream[0]
    assert np.array_equal(crop.unlabelled, expected)
    assert (crop.sample.labels[0] == 1).all()


def test_a_changed_file_has_another_digest(module: Path) -> None:
    before = source_digest("own_changes:noise")
    module.write_text(MODULE + "\n")
    assert len(before) == 64
    assert source_digest("own_changes:noise") != before


def test_a_recipe_file_does_not_start_code_that_the_user_did_not_name(tmp_path: Path) -> None:
    path = tmp_path / "strange.yaml"
    custom = {"augment": {"custom": "own_changes:noise"}}
    path.write_text(read_recipe("finetune", custom | {"data": {"root": "."}}).to_yaml())
    with pytest.raises(UserError, match=r"name it yourself: --augment\.custom own_changes:noise"):
        read_run_recipe(str(path), _SHORT, {})
    with pytest.raises(UserError, match="name it yourself"):
        read_run_recipe(str(path), _SHORT, {"augment": {"flip": 0.1}})
    assert read_run_recipe(str(path), _SHORT, custom).augment.custom == "own_changes:noise"
    assert read_run_recipe(str(path), _SHORT, {"augment": {"custom": None}}).augment.custom is None
    assert "own_changes" not in sys.modules


@pytest.mark.parametrize("name", ["os.system", "a:b.c", "/tmp/x.py:f", "a b:c", ":f", "a:"])
def test_an_import_path_has_a_module_and_a_function(name: str) -> None:
    with pytest.raises(UserError, match=r"augment\.custom"):
        read_recipe("finetune", {"augment": {"custom": name}})


def test_each_process_of_a_run_may_use_the_code_that_the_user_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(command: list[str], _count: int) -> int:
        name = command[command.index("--augment.custom") + 1]
        assert read_run_recipe(command[4], _SHORT, {"augment": {"custom": name}}) == recipe
        return 0

    custom = {"augment": {"custom": "own_changes:noise"}}
    recipe = read_recipe("finetune", custom | {"data": {"root": "."}})
    monkeypatch.setattr(run_training, "launch", launch)
    hardware = Hardware(device="cpu", devices=2)
    assert run_training.run_training(recipe, RunFolder(out=tmp_path), hardware).status == 0
