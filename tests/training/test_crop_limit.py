"""A step that runs out of memory is computed again in smaller parts, and nothing else changes."""

import json
from pathlib import Path

import pytest
import torch

from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.recipe import OptimizerRecipe, Recipe
from segmenter.recipe.loss import LossRecipe, TeacherRecipe
from segmenter.training.crop_limit import CropLimit
from segmenter.training.losses import Loss
from segmenter.training.optimizer import make_optimizer
from segmenter.training.parallel import DistributedModel
from segmenter.training.processes import Processes
from segmenter.training.signals import Stopped
from segmenter.training.step import train_step
from segmenter.training.teacher import Teacher
from segmenter.training.verify import CROPS_AT_ONCE
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec
from tests.helpers.runs import LOSS, batch, equal, make_recipe, run_training, stop_after, weights
from tests.helpers.small_memory import small_memory
from tests.helpers.trajectories import assert_same_trajectory, drive, trace

SPLIT_FREE = {"model": {"drop_path": 0.3}, "data": {"val": None}, "batch_size": 8}
"""Random numbers that do not depend on how a batch is split, and no evaluation."""


def train(recipe: Recipe, folder: Path, *, most: int | None = None, at_pass: int = 1) -> list[int]:
    """Train; gives the crops of each forward pass where `most` of them fit into memory."""
    if most is None:
        run_training(recipe, folder, "cpu")
        return []
    with small_memory(most, at_pass=at_pass) as tried:
        run_training(recipe, folder, "cpu")
    return tried


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["train/loss"] for line in lines if "train/loss" in line]


@pytest.mark.parametrize("decoder", [{"kind": "linear"}, {"kind": "multi-linear", "blocks": 2}])
def test_a_full_memory_gives_the_bits_of_a_run_that_accumulates(
    data_set: Path, decoder: dict[str, object]
) -> None:
    model = SPLIT_FREE["model"] | {"decoder": decoder}
    recipe = make_recipe(data_set, **SPLIT_FREE | {"model": model}, log_every=1)
    tried = train(recipe, data_set / "full", most=3)
    assert tried[:4] == [8, 4, 2, 2]
    assert set(tried[2:]) == {2}
    train(recipe.model_copy(update={"accumulate": 4}), data_set / "parts")
    assert equal(data_set / "full", data_set / "parts")
    assert losses(data_set / "full") == losses(data_set / "parts")


@pytest.mark.slow
def test_the_losses_are_those_of_an_unbroken_run_but_for_rounding(data_set: Path) -> None:
    recipe = make_recipe(data_set, **SPLIT_FREE, log_every=1)
    train(recipe, data_set / "unbroken")
    train(recipe, data_set / "full", most=2, at_pass=3)
    assert losses(data_set / "full") == pytest.approx(losses(data_set / "unbroken"), abs=1e-5)
    for name, tensor in weights(data_set / "full").items():
        torch.testing.assert_close(tensor, weights(data_set / "unbroken")[name], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_one_line_says_so_each_time_the_parts_are_halved(
    data_set: Path, capsys: pytest.CaptureFixture
) -> None:
    train(make_recipe(data_set, **SPLIT_FREE), data_set / "run", most=2)
    said = capsys.readouterr().err
    assert said.count("do not fit into the memory of cpu") == 2
    assert "8 crops at once do not fit into the memory of cpu; training continues with 4" in said
    assert "4 crops at once do not fit into the memory of cpu; training continues with 2" in said


def test_a_batch_that_halves_unevenly_has_the_loss_of_the_whole() -> None:
    model = Segmenter(make_spec()).train()
    given = batch(model, count=7)
    found = {}
    for most in (7, 2):
        step = Segmenter(model.spec).train()
        step.load_state_dict(model.state_dict())
        optimizer = make_optimizer(step, OptimizerRecipe(name="sgd", lr=0.1))
        with small_memory(most) as tried:
            result = train_step(DistributedModel(step), optimizer, given, _recipe(), LOSS)
        found[most] = result.loss, result.grad_norm
    assert tried == [7, 4, 2, 2, 2, 1]
    assert found[2] == pytest.approx(found[7], abs=1e-5)


def test_a_full_memory_halves_the_crops_that_a_teacher_labels() -> None:
    model = Segmenter(make_spec()).train()
    given = batch(model, count=8)
    given = given._replace(unlabelled=given.labels != 255)
    recipe = TeacherRecipe(model="x", targets="labels", unlabelled="x")
    teacher = Teacher(Segmenter(make_spec()), recipe, 255)
    optimizer = make_optimizer(model, OptimizerRecipe(name="sgd", lr=0.1))
    with small_memory(4) as tried:
        train_step(DistributedModel(model), optimizer, given, _recipe(), LOSS, teacher=teacher)
    assert tried == [8, *(4, 4), *(4, 4)]


@pytest.mark.parametrize(("own", "other", "agreed"), [(0, 0, 0), (4, 0, 4), (0, 2, 2), (4, 2, 2)])
def test_processes_agree_on_the_smallest_limit(own: int, other: int, agreed: int) -> None:
    class Two(Processes):
        def all_reduce(self, values: torch.Tensor) -> torch.Tensor:
            return values + torch.tensor([0, other])

    limit = CropLimit(own)
    limit.agree(Two(rank=0, count=2))
    assert limit.most == agreed


def _recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "name": "step",
            "model": {"weights": "none", "decoder": "linear"},
            "data": {"root": "none"},
            "augment": {"crop_size": 32},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "schedule": {"steps": 1},
            "batch_size": 7,
        }
    )


@pytest.mark.slow
def test_a_resumed_run_starts_with_what_fitted_and_ends_at_the_same_bits(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    recipe = make_recipe(data_set, **SPLIT_FREE)
    train(recipe, data_set / "unbroken", most=2)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            train(recipe, data_set / "broken", most=2)
    (state,) = (data_set / "broken/checkpoints").glob("step-00000003/state.json")
    assert json.loads(state.read_text())["facts"]["counters"][CROPS_AT_ONCE] == 2
    capsys.readouterr()
    with small_memory(8) as tried:  # there is room now, and rounding stays as it was
        run_training(recipe, data_set / "broken", "cpu", resume=True)
    assert set(tried) == {2}
    assert "do not fit" not in capsys.readouterr().err
    assert equal(data_set / "unbroken", data_set / "broken")


def test_a_run_whose_memory_sufficed_has_the_checkpoints_of_before(data_set: Path) -> None:
    train(make_recipe(data_set, **SPLIT_FREE), data_set / "run")
    (state,) = (data_set / "run/checkpoints").glob("step-00000006/state.json")
    assert CROPS_AT_ONCE not in json.loads(state.read_text())["facts"]["counters"]


@pytest.mark.slow
def test_one_crop_that_does_not_fit_ends_the_run_with_what_to_do(data_set: Path) -> None:
    with pytest.raises(UserError, match=r"one crop does not fit .* lower augment\.crop_size"):
        train(make_recipe(data_set, **SPLIT_FREE), data_set / "run", most=0)


def test_a_full_memory_in_the_optimizer_ends_the_run_with_what_to_do(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(UserError, match=r"the optimizer's state do not fit .* --fsdp"):
        run_training(make_recipe(data_set, **SPLIT_FREE), data_set / "run", "cpu")


def test_a_full_memory_while_others_wait_ends_the_run_with_what_to_do() -> None:
    def fail(_: bool) -> None:
        raise torch.OutOfMemoryError

    limit, device, two = CropLimit(), torch.device("cpu"), Processes(count=2)
    with pytest.raises(UserError, match=r"4 crops at once .* --resume and a higher accumulate"):
        limit.fit(fail, lambda: 4, device, two, is_sharded=True)


def test_other_errors_of_a_step_are_not_taken_for_a_full_memory(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Segmenter, "decode", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run_training(make_recipe(data_set, **SPLIT_FREE), data_set / "run", "cpu")


@pytest.mark.slow
def test_processes_agree_where_the_memory_of_one_is_full(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    root = write_data_set(tmp_path / "data", num_images=8)
    recipe = make_recipe(root, **SPLIT_FREE)
    full = ["--full-above", "1", "--rank", "1"]
    assert drive(recipe, root / "full", 2, "--device", "cpu", *full) == 0
    said = capfd.readouterr().err
    assert said.count("do not fit into the memory of cpu") == 2  # 4, then 2; once for both
    assert drive(recipe, root / "unbroken", 2, "--device", "cpu") == 0
    assert_same_trajectory(trace(root / "unbroken", 2), trace(root / "full", 2))


@pytest.mark.slow
def test_sharded_processes_split_alike_where_the_labels_of_one_fill_its_memory(
    tmp_path: Path,
) -> None:
    root = write_data_set(tmp_path / "data")
    teacher = {"model": str(root / "start.safetensors"), "targets": "labels"}
    teacher |= {"unlabelled": str(root / "images/train"), "unlabelled_crops": 0.95}
    recipe = make_recipe(root, **SPLIT_FREE, loss={"teacher": teacher})
    full = ["--fsdp", "--full-above", "2", "--rank", "1"]
    assert drive(recipe, root / "full", 2, "--device", "cpu", *full) == 0
    assert drive(recipe, root / "unbroken", 2, "--device", "cpu") == 0
    assert_same_trajectory(trace(root / "unbroken", 2), trace(root / "full", 2))


@pytest.mark.slow
def test_one_crop_that_does_not_fit_in_one_process_ends_all_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    root = write_data_set(tmp_path / "data", num_images=8)
    full = ["--full-above", "0", "--rank", "1"]
    assert drive(make_recipe(root, **SPLIT_FREE), root / "run", 2, "--device", "cpu", *full) == 2
    said = capfd.readouterr().err
    assert said.count("segmenter: one crop does not fit") == 1


def test_dice_is_a_mean_over_crops_however_uneven_the_parts_are() -> None:
    model = Segmenter(make_spec()).train()
    given, dice = batch(model, count=3), Loss(LossRecipe(cross_entropy=0, dice=1), 255)
    optimizer = make_optimizer(model, OptimizerRecipe(name="sgd", lr=0.1))
    with torch.no_grad():
        logits = model(model.normalize(given.images))
        first, second = (
            float(dice(logits[part], given.labels[part], 1, 1.0))
            for part in (slice(2), slice(2, 3))
        )
    with small_memory(2):
        result = train_step(DistributedModel(model), optimizer, given, _recipe(), dice)
    assert result.loss == pytest.approx((2 * first + second) / 3)
