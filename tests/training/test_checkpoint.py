"""A checkpoint is whole or not there, and a damaged one is skipped."""

import errno
from pathlib import Path

import pytest
import torch

from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.recipe import OptimizerRecipe
from segmenter.training import checkpoint as module
from segmenter.training.checkpoint import (
    Checkpoint,
    newest_facts,
    read_newest,
    write_checkpoint,
)
from segmenter.training.optimizer import make_optimizer
from segmenter.training.state import optimizer_tensors, restore_optimizer


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"model": {"weight": torch.full((3,), float(step))}}, {"seed": 1})


def test_the_newest_is_read_back_equal_and_two_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write_checkpoint(tmp_path, checkpoint(step))
    found, warnings = read_newest(tmp_path)
    assert (found.step, found.facts, warnings) == (30, {"seed": 1}, [])
    assert torch.equal(found.tensors["model"]["weight"], torch.full((3,), 30.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]


def test_each_checkpoint_of_a_step_is_newer_than_those_before_it(tmp_path: Path) -> None:
    for seed in range(4):
        path = write_checkpoint(tmp_path, checkpoint(200)._replace(facts={"seed": seed}))
        assert [*tmp_path.iterdir()] == [path]
        assert read_newest(tmp_path)[0].facts == {"seed": seed}


def test_a_step_that_is_damaged_twice_is_written_a_third_time(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, checkpoint(100))
    for _ in range(2):
        path = write_checkpoint(tmp_path, checkpoint(200))
        (path / "model.safetensors").unlink()
        assert read_newest(tmp_path)[0].step == 100
    write_checkpoint(tmp_path, checkpoint(200))
    assert read_newest(tmp_path)[0].step == 200


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "no state"])
def test_a_damaged_one_is_named_and_passed_over(tmp_path: Path, damage: str) -> None:
    for step in (10, 20):
        write_checkpoint(tmp_path, checkpoint(step))
    weights = tmp_path / "step-00000020" / "model.safetensors"
    data = weights.read_bytes()
    if damage == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "truncate":
        weights.write_bytes(data[:-4])
    elif damage == "remove":
        weights.unlink()
    else:
        (tmp_path / "step-00000020" / "state.json").write_text("{")
    found, warnings = read_newest(tmp_path)
    assert found.step == 10
    assert "step-00000020" in warnings[0]


def test_a_write_that_fails_leaves_the_others_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, checkpoint(10))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_synced", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(tmp_path, checkpoint(20))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]
    assert read_newest(tmp_path)[0].step == 10


def test_the_facts_of_a_run_of_millions_of_images_are_read(tmp_path: Path) -> None:
    facts = {"photos": "a" * 2**26}
    write_checkpoint(tmp_path, checkpoint(10)._replace(facts=facts))
    assert newest_facts(tmp_path) == read_newest(tmp_path)[0].facts == facts


def test_nothing_to_resume_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing to resume.*another --out"):
        read_newest(tmp_path / "absent")


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_restored_optimizer_takes_the_same_next_step(tiny_model: Segmenter, name: str) -> None:
    recipe = OptimizerRecipe(name=name, lr=0.01)
    model, optimizer = tiny_model, make_optimizer(tiny_model, recipe)

    def update() -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 3, 32, 32)).square().sum().backward()
        optimizer.step()

    update()
    weights = {n: t.clone() for n, t in model.state_dict().items()}
    state = {n: t.clone() for n, t in optimizer_tensors(model, optimizer).items()}
    update()
    expected = {n: t.clone() for n, t in model.state_dict().items()}
    model.load_state_dict(weights)
    optimizer = make_optimizer(model, recipe)
    restore_optimizer(model, optimizer, state)
    update()
    assert all(torch.equal(tensor, expected[n]) for n, tensor in model.state_dict().items())
