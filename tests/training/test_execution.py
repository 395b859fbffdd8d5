"""Half precision, deterministic algorithms and torch.compile."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch.amp import GradScaler

from segmenter import UserError
from segmenter.api import run_training as train_command
from segmenter.options import Execution
from segmenter.recipe import read_recipe
from segmenter.training import launch, loop
from segmenter.training.launch import check_execution, exact_algorithms
from segmenter.training.signals import Stopped
from tests.helpers.runs import equal, make_recipe, run_training, stop_after

HALF = {"precision": "float16", "data": {"val": None}, "schedule": {"steps": 4}, "log_every": 1}


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["train/loss"] for line in lines]


def test_float16_follows_float32_and_resumes_with_its_scale(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(make_recipe(data_set, **HALF), data_set / "half")
    run_training(make_recipe(data_set, **HALF | {"precision": "float32"}), data_set / "full")
    assert losses(data_set / "half") == pytest.approx(losses(data_set / "full"), abs=0.02)
    state = json.loads((data_set / "half/checkpoints/step-00000004/state.json").read_text())
    assert state["facts"]["scaler"]["scale"] == 2**16
    assert state["facts"]["scaler"]["_growth_tracker"] == 4
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stopped):
            run_training(make_recipe(data_set, **HALF), data_set / "broken")
    run_training(make_recipe(data_set, **HALF), data_set / "broken", resume=True)
    assert equal(data_set / "half", data_set / "broken")


def test_float16_halves_its_scale_and_keeps_the_weights_where_gradients_overflow(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    too_large = functools.partial(GradScaler, init_scale=2.0**120)
    monkeypatch.setattr(loop, "GradScaler", too_large)
    run_training(make_recipe(data_set, **HALF), data_set / "run")
    assert capsys.readouterr().err.count("no weight was moved") == 4
    first, last = (data_set / f"run/checkpoints/step-0000000{step}" for step in (2, 4))
    state = json.loads((last / "state.json").read_text())
    assert state["facts"]["scaler"]["scale"] == 2.0**116
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, last)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("is_native", "meant"), [(True, "bfloat16"), (False, "float32")])
def test_precision_auto_is_what_the_device_is_fast_in_and_the_run_says_which(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, is_native: bool, meant: str
) -> None:
    auto, told = ({**HALF, "precision": name} for name in ("auto", meant))
    monkeypatch.setattr(train_command, "has_bfloat16", lambda _: is_native)
    run_training(make_recipe(data_set, **auto), data_set / "auto")
    assert read_recipe(str(data_set / "auto/recipe.yaml")).precision == meant
    run_training(make_recipe(data_set, **told), data_set / "told")
    assert equal(data_set / "auto", data_set / "told")


def test_a_run_does_not_go_on_in_another_arithmetic_unsaid(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(data_set, **{**HALF, "precision": "auto"})
    monkeypatch.setattr(train_command, "has_bfloat16", lambda _: True)
    run_training(recipe, data_set / "run")
    monkeypatch.setattr(train_command, "has_bfloat16", lambda _: False)
    with pytest.raises(UserError, match=r"bfloat16 -> float32; .*--allow-config"):
        run_training(recipe, data_set / "run", resume=True)


def test_bfloat16_where_the_device_lacks_it_is_warned_of(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    recipe = make_recipe(data_set, **{**HALF, "precision": "bfloat16"})
    for is_native in (True, False):
        monkeypatch.setattr(train_command, "has_bfloat16", lambda _, found=is_native: found)
        run_training(recipe, data_set / f"run-{is_native}")
        assert ("has no bfloat16 arithmetic" in capsys.readouterr().err) is not is_native


def test_deterministic_is_on_for_the_run_alone(data_set: Path) -> None:
    with exact_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    recipe = make_recipe(data_set, data={"val": None}, schedule={"steps": 2})
    for name in ("one", "two"):
        run_training(recipe, data_set / name, execution=Execution(deterministic=True))
    assert equal(data_set / "one", data_set / "two")


@pytest.mark.parametrize(
    ("execution", "changes", "problem"),
    [
        (Execution(fsdp=True), {"precision": "float16"}, "set precision to bfloat16"),
        (Execution(fsdp=True, compile=True), {}, "do not go together"),
        (
            Execution(fsdp=True),
            {"loss": {"teacher": {"model": "average"}}, "ema_decay": 0.9},
            "needs all of it; omit --fsdp",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    execution: Execution, changes: dict, problem: str, data_set: Path
) -> None:
    with pytest.raises(UserError, match=problem):
        check_execution(execution, make_recipe(data_set, **changes), num_processes=2)


def test_compiling_without_a_compiler_says_so_before_anything_else(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"--compile needs a C\+\+ compiler.*install g\+\+"):
        run_training(make_recipe(data_set), data_set / "run", execution=Execution(compile=True))
    monkeypatch.undo()
    monkeypatch.setattr(launch.sysconfig, "get_path", lambda _: str(data_set))
    monkeypatch.setattr(launch.shutil, "which", lambda name: name)
    with pytest.raises(UserError, match=r"--compile needs Python's headers.*Python\.h is missing"):
        run_training(make_recipe(data_set), data_set / "run", execution=Execution(compile=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_a_compiled_model_follows_the_plain_one(data_set: Path) -> None:
    try:
        check_execution(Execution(compile=True), make_recipe(data_set), 1)
    except UserError as error:
        pytest.skip(str(error))
    recipe = make_recipe(
        data_set, data={"val": None}, log_every=1, schedule={"steps": 4}, model={"drop_path": 0.3}
    )
    run_training(recipe, data_set / "plain")
    run_training(recipe, data_set / "compiled", execution=Execution(compile=True))
    assert losses(data_set / "plain") == pytest.approx(losses(data_set / "compiled"), abs=1e-4)
