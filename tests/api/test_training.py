"""Training from Python: the run of the command, and nothing of it stays behind."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import segmenter
from segmenter.api import run_training as run_training_module
from segmenter.errors import EarlyExit, UserError
from tests.helpers.command_line import run
from tests.helpers.runs import equal, log, stop_after

SHORT = {"steps": 2}

pytestmark = pytest.mark.usefixtures("here")


def test_a_run_is_that_of_the_command(capsys: pytest.CaptureFixture) -> None:
    batch = np.int64(4)  # as numbers of NumPy come from a notebook
    trained = segmenter.train("tiny.yaml", out="ours", schedule=SHORT, batch_size=batch)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""
    assert (
        run(
            "train", *["tiny.yaml", "--out", "theirs", "--schedule.steps", "2", "--batch_size", "4"]
        )
        == 0
    )
    assert equal(Path("ours"), Path("theirs"))
    assert trained.folder == Path("ours")
    assert trained.path == Path("ours/best.safetensors")
    assert trained.miou == log(Path("theirs"))[-1]["val/miou"]
    assert set(trained.scores["classes"]) == {"class-0", "class-1", "class-2"}
    assert repr(trained).startswith("TrainedModel(ours/best.safetensors, val mIoU ")


def test_a_run_without_validation_gives_its_last_model() -> None:
    trained = segmenter.train("tiny.yaml", data={"val": None}, out="run", schedule=SHORT)
    assert trained.path == Path("run/last.safetensors")
    assert trained.scores == {}
    assert trained.miou is None


def test_data_start_and_paths_are_those_of_the_recipe() -> None:
    recipe = Path("tiny.yaml")
    segmenter.train(
        recipe, data=Path("data"), start=Path("model.safetensors"), out=Path("run"), schedule=SHORT
    )
    text = Path("run/recipe.yaml").read_text()
    assert "weights: model.safetensors" in text
    assert "root: data" in text


def test_a_run_in_another_thread_needs_no_signals() -> None:
    found = []
    thread = threading.Thread(
        target=lambda: found.append(segmenter.train("tiny.yaml", out="run", schedule=SHORT))
    )
    thread.start()
    thread.join()
    assert found[0].path.is_file()


def test_no_state_of_the_process_changes() -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.is_grad_enabled(),
            signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGTERM),
            dict(os.environ),
            Path.cwd(),
        )

    before = state()
    decoder = {"kind": "mask", "dropout": 0.2, "dim": 64}  # dropout draws from torch's generator
    segmenter.train(
        "tiny.yaml",
        model={"decoder": decoder},
        out="run",
        partial=True,
        schedule=SHORT,
        deterministic=True,
    )
    assert state() == before


def test_an_interrupted_run_raises_and_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 1, signal.SIGINT)
        with pytest.raises(EarlyExit, match="stopped by a signal after step 1"):
            segmenter.train("tiny.yaml", out="run")
    segmenter.train("tiny.yaml", out="run", resume=True)
    segmenter.train("tiny.yaml", out="whole")
    assert equal(Path("run"), Path("whole"))


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (143, EarlyExit, "stopped by a signal; continue with --resume"),
        (1, UserError, "ended with status 1"),
    ],
)
def test_several_processes_that_a_signal_stopped_raise_as_one_does(
    status: int, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_training_module, "_launch", lambda *_: status)
    with pytest.raises(error, match=said):
        segmenter.train("tiny.yaml", out="run", devices=2, device="cpu")


@pytest.mark.slow
def test_several_processes_train_one_model() -> None:
    trained = segmenter.train("tiny.yaml", out="run", schedule=SHORT, devices=2, device="cpu")
    assert trained.path.is_file()
    with pytest.raises(UserError, match="ended with status 2"):
        segmenter.train("tiny.yaml", out="run", schedule=SHORT, devices=2, device="cpu")


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"stepz": 5}, "train has no option 'stepz'"),
        ({"steps": 5}, "it is a field of a section: schedule=\\{'steps': ...\\}"),
        ({"strat": "a"}, "did you mean 'start'.*masks, .*start"),
        ({"schedul": {}}, "no option 'schedul', did you mean 'schedule'"),
        ({"schedule": 5}, "schedule is a section of the recipe; give its fields as a dictionary"),
        ({"out": 5}, "^train: out: "),
        ({"start": ""}, "^train: start is empty"),
        ({"device": "gpu"}, "gpu"),
    ],
)
def test_what_no_run_can_have_is_refused(keywords: dict[str, object], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        segmenter.train("tiny.yaml", **{"out": "run"} | keywords)  # type: ignore[arg-type]
