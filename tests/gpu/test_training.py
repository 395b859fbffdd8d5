"""Training on a GPU: precisions, compiling, exact resumption, NCCL, FSDP, a full memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import distributed

from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.options import Execution
from segmenter.recipe import OptimizerRecipe, Recipe
from segmenter.training.optimizer import make_optimizer
from segmenter.training.parallel import (
    DistributedModel,
    ForwardPass,
    to_full_tensors,
    wrap_ddp,
)
from segmenter.training.processes import Processes
from segmenter.training.signals import Stopped
from segmenter.training.step import StepResult, train_step
from tests.helpers.gpu import blocks, rehearses, small
from tests.helpers.models import make_spec
from tests.helpers.ports import free_port
from tests.helpers.runs import LOSS, batch, equal, make_recipe, run_training, stop_after, weights
from tests.helpers.skips import NOT_HERE
from tests.helpers.small_memory import small_memory

pytestmark = pytest.mark.gpu


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["train/loss"] for line in lines if "train/loss" in line]


def train(recipe: Recipe, folder: Path, device: torch.device, **options: bool) -> list[float]:
    """Train; gives the loss of each step."""
    run_training(recipe, folder, str(device), execution=Execution(**options))
    return losses(folder)


@pytest.mark.parametrize("compiles", [False, True], ids=["eager", "compile"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_fifty_steps_lower_the_loss_as_on_the_cpu(
    root: Path, device: torch.device, precision: str, compiles: bool
) -> None:
    if rehearses() and compiles and precision != "float32":
        pytest.skip(f"{NOT_HERE}: a rehearsal compiles one precision")
    steps = small(50, 8)
    recipe = make_recipe(
        root, precision=precision, schedule={"steps": steps}, evaluate_every=steps, log_every=1
    )
    found = train(recipe, root / "run", device, compile=compiles)
    assert len(found) == steps
    assert sum(found[-3:]) < sum(found[:3])
    plain = recipe.model_copy(update={"precision": "float32"})
    expected = train(plain, root / "cpu", torch.device("cpu"))
    tolerance = 0.005 if precision == "float32" else 0.05
    assert found[:5] == pytest.approx(expected[:5], abs=tolerance)
    assert found[-1] == pytest.approx(expected[-1], abs=10 * tolerance)


def test_processes_that_read_images_go_with_a_gpu(root: Path, device: torch.device) -> None:
    recipe = make_recipe(root, workers=2, schedule={"steps": 4})
    train(recipe, root / "run", device)
    train(recipe.model_copy(update={"workers": 0}), root / "alone", device)
    alone = weights(root / "alone")
    for name, tensor in weights(root / "run").items():
        torch.testing.assert_close(tensor, alone[name], atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("default:.*deterministic.*")
@pytest.mark.parametrize("crop", [64, 48], ids=["own-grid", "resized-table"])
@pytest.mark.parametrize("decoder", ["linear", "mask", "joined-class-tokens"])
def test_a_deterministic_run_resumes_to_the_same_bits(
    root: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch, decoder: str, crop: int
) -> None:
    settings = {"mask": {"dim": 64}, "joined-class-tokens": {"blocks": 1, "cells": 2}}.get(
        decoder, {}
    )
    recipe = make_recipe(
        root,
        model={"drop_path": 0.3, "decoder": {"kind": decoder, **settings}},
        augment={"crop_size": crop},
        ema_decay=0.9,
    )
    execution = Execution(deterministic=True)
    for name in ("one", "two"):
        run_training(recipe, root / name, str(device), execution=execution)
    assert equal(root / "one", root / "two"), "two runs differ"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            run_training(recipe, root / "broken", str(device), execution=execution)
    run_training(recipe, root / "broken", str(device), execution=execution, resume=True)
    assert equal(root / "one", root / "broken"), "the resumed run differs"


@contextmanager
def one_process(device: torch.device) -> Iterator[Processes]:
    """A group of one process, connected as several are."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    address = f"tcp://127.0.0.1:{free_port()}"
    distributed.init_process_group(backend, init_method=address, rank=0, world_size=1)
    try:
        yield Processes(rank=0, count=1)
    finally:
        distributed.destroy_process_group()


def steps_of(model: DistributedModel, root: Path) -> list[StepResult]:
    """Three steps on the same crops."""
    torch.manual_seed(0)
    optimizer = make_optimizer(model.module, OptimizerRecipe(name="adamw", lr=1e-3))
    given, recipe = batch(model.module), make_recipe(root)
    return [train_step(model, optimizer, given, recipe, LOSS) for _ in range(3)]


def fresh_model(device: torch.device) -> Segmenter:
    torch.manual_seed(1)
    return Segmenter(make_spec(decoder="mask")).to(device).train()


@pytest.mark.parametrize("kind", ["copies", "shards"])
def test_one_process_of_a_group_takes_the_steps_of_one_alone(
    root: Path, device: torch.device, kind: str
) -> None:
    alone = DistributedModel(fresh_model(device))
    expected = steps_of(alone, root)
    with one_process(device) as processes:
        ones = torch.ones(3, device=device)
        distributed.all_reduce(ones)
        assert ones.tolist() == [1, 1, 1]
        outcome = [{"found": 1}]
        distributed.broadcast_object_list(outcome)
        assert outcome == [{"found": 1}]
        if kind == "shards":
            model = DistributedModel(fresh_model(device), processes, Execution(fsdp=True))
        else:
            model = DistributedModel(fresh_model(device), processes)
            model._forward = wrap_ddp(ForwardPass(model.module))
        for found, wanted in zip(steps_of(model, root), expected, strict=True):
            assert found.loss == pytest.approx(wanted.loss, abs=1e-4)
            assert found.grad_norm == pytest.approx(wanted.grad_norm, rel=1e-3)
        full = to_full_tensors(model.module.state_dict())
        for name, tensor in alone.module.state_dict().items():
            torch.testing.assert_close(full[name], tensor, atol=1e-4, rtol=0)


@contextmanager
def memory_of(num_images: int, device: torch.device, needed: int) -> Iterator[None]:
    """Hold no more memory than `needed` bytes, or in a rehearsal that of so many images."""
    if rehearses():
        with small_memory(num_images):
            yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(needed / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def peak(device: torch.device) -> int:
    """Most bytes since the last call."""
    if device.type != "cuda":
        return 0
    most = torch.cuda.max_memory_reserved(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return most


def test_a_step_that_does_not_fit_is_halved_and_has_the_same_loss(
    root: Path, device: torch.device, capsys: pytest.CaptureFixture
) -> None:
    side, crops = small(512, 64), 8
    recipe = make_recipe(
        root, augment={"crop_size": side}, batch_size=crops, data={"val": None}, log_every=1
    )
    peak(device)
    parts = recipe.model_copy(update={"accumulate": 4})
    expected = train(parts, root / "parts", device)
    needed = peak(device)
    capsys.readouterr()
    with memory_of(2, device, int(1.3 * needed)):
        found = train(recipe, root / "full", device)
    assert "do not fit into the memory" in capsys.readouterr().err
    assert found == pytest.approx(expected, abs=1e-4)


def test_windows_that_do_not_fit_are_halved_and_have_the_same_labels(
    device: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    size = {"patch_size": small(8, 16), "embed_dim": small(384, 64), "depth": small(4, 2)}
    model = Segmenter(make_spec(**size)).eval().to(device)
    side = small(1536, 150)
    image = blocks(1, side)[0].permute(1, 2, 0).numpy()
    window = small(512, 48)
    predictor = Predictor(model, protocol=EvaluationProtocol(window=window, stride=window // 2))
    peak(device)
    expected = predictor(image)
    needed = peak(device)
    with memory_of(3, device, int(0.6 * needed)):
        found = predictor(image)
    assert (found == expected).mean() > 0.999
    assert "do not fit into the memory" in caplog.text
