"""What a run survives: kills, full disks, damaged images, dead readers; equal to the bit."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter import UserError
from segmenter.api import run_training as run_training_module
from segmenter.data.folder import read_sample
from segmenter.recipe import Recipe
from segmenter.training import checkpoint as checkpoint_module
from segmenter.training import loop
from segmenter.training.checkpoint import Checkpoint, read_newest, write_checkpoint
from segmenter.training.log import tracking
from segmenter.training.losses import Loss
from segmenter.training.run_folder import never_saved
from segmenter.training.signals import Stopped, StopSignals
from segmenter.training.step import train_step
from tests.helpers.data_sets import write_data_set
from tests.helpers.paths import REPOSITORY
from tests.helpers.runs import (
    EVERYTHING_RANDOM,
    equal,
    make_recipe,
    run_training,
    run_with_a_stop,
    stop_after,
)
from tests.training.driver import read_trace

NO_SCORES = {"data": {"val": None}}


def drive(recipe: Recipe, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Train in another process; `folder` is the run's, its trace lies beside."""
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(recipe.to_yaml())
    command = [sys.executable, "-m", "tests.training.driver", "--trace", f"{folder}.trace"]
    return subprocess.run(
        [*command, "train", str(file), "--out", str(folder), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
def test_five_kills_at_random_steps_with_changing_workers_change_no_bit(tmp_path: Path) -> None:
    # Ten images in batches of four: epochs end inside batches.
    root = write_data_set(tmp_path / "data", num_images=10)
    recipe = make_recipe(
        root, **EVERYTHING_RANDOM, schedule={"steps": 60}, save_every=7, evaluate_every=25
    )
    assert drive(recipe, tmp_path / "unbroken").returncode == 0
    kills = sorted(np.random.default_rng(4).choice(np.arange(2, 60), 5, replace=False))
    for number, step in enumerate([*kills, 0]):
        workers = ["--workers", str((0, 2)[number % 2])]
        resume = ["--resume"] if number else []
        ended = drive(recipe, tmp_path / "broken", *resume, *workers, "--at", str(step))
        assert ended.returncode == (-signal.SIGKILL if step else 0), ended.stderr
    assert equal(tmp_path / "unbroken", tmp_path / "broken")
    traces = [read_trace(tmp_path / f"{name}.0") for name in ("unbroken", "broken")]
    assert traces[0] == traces[1]
    assert len(traces[0]) == 60


def test_what_was_logged_after_the_last_checkpoint_is_logged_once(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(data_set, **NO_SCORES, log_every=1, save_every=4)

    def die_in_step_six(*arguments: object) -> object:
        result = train_step(*arguments)
        calls.append(None)
        return result if len(calls) < 6 else 1 / 0

    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", die_in_step_six)
        with pytest.raises(ZeroDivisionError):
            run_training(recipe, data_set / "run", "cpu", resume=False)
    run_training(recipe, data_set / "run", "cpu", resume=True)
    lines = [json.loads(line) for line in (data_set / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def write_and_die(folder: Path, num_files: int) -> None:
    """Write a checkpoint, and be killed after some of its files."""
    write = checkpoint_module.write_synced
    written = []

    def write_then_die(path: Path, data: bytes) -> None:
        if len(written) == num_files:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, data)
        written.append(path)

    checkpoint_module.write_synced = write_then_die
    write_checkpoint(folder, some_checkpoint(20))


def replace_and_die(folder: Path, num_calls: int) -> None:
    """Write a checkpoint of a step that has one, and be killed before a change of the folder."""
    calls = []

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **others: object) -> object:
            if len(calls) == num_calls:
                os.kill(os.getpid(), signal.SIGKILL)
            calls.append(None)
            return change(*arguments, **others)

        return call

    for name in ("rename", "unlink", "rmdir", "open"):
        setattr(os, name, counted(getattr(os, name)))
    write_checkpoint(folder, some_checkpoint(10))


@pytest.mark.slow
def test_a_kill_while_a_checkpoint_is_written_anew_leaves_one_of_them(tmp_path: Path) -> None:
    fork, status, num_calls = multiprocessing.get_context("fork"), -signal.SIGKILL, 0
    while status:
        folder = tmp_path / str(num_calls)
        write_checkpoint(folder, some_checkpoint(10))
        process = fork.Process(target=replace_and_die, args=(folder, num_calls))
        process.start()
        process.join()
        status, num_calls = process.exitcode, num_calls + 1
        assert status in (0, -signal.SIGKILL)
        assert read_newest(folder)[0].step == 10
        write_checkpoint(folder, some_checkpoint(10))
        assert len([*folder.iterdir()]) == 1
    assert num_calls > 8


def some_checkpoint(step: int) -> Checkpoint:
    tensors = {name: {"weight": torch.full((3,), float(step))} for name in ("model", "optimizer")}
    return Checkpoint(step, tensors, {})


@pytest.mark.slow
@pytest.mark.parametrize("num_files", [0, 1, 2])
def test_a_kill_during_a_save_leaves_the_checkpoint_before(tmp_path: Path, num_files: int) -> None:
    write_checkpoint(tmp_path, some_checkpoint(10))
    process = multiprocessing.get_context("fork").Process(
        target=write_and_die, args=(tmp_path, num_files)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_newest(tmp_path)[0].step == 10
    write_checkpoint(tmp_path, some_checkpoint(20))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000020"]


def fail_to_save(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The disk is full for some saves, after the first."""
    write, calls = loop.CheckpointSaver.save, []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def save(self: loop.CheckpointSaver, *arguments: object, **others: object) -> bool:
        calls.append(None)
        with monkeypatch.context() as patch:
            if 1 < len(calls) <= 1 + times:
                patch.setattr(checkpoint_module, "write_synced", full)
            return write(self, *arguments, **others)

    monkeypatch.setattr(loop.CheckpointSaver, "save", save)


def test_training_goes_on_while_the_disk_is_full_twice(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    fail_to_save(monkeypatch, 2)
    recipe = make_recipe(data_set, **NO_SCORES, save_every=1)
    run_training(recipe, data_set / "run", "cpu", resume=False)
    assert capsys.readouterr().err.count("No space left on device; training continues") == 2
    kept = sorted(path.name for path in (data_set / "run/checkpoints").iterdir())
    assert kept == ["step-00000005", "step-00000006"]


def test_three_failed_saves_in_a_row_stop_the_run_and_the_last_good_one_stays(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_save(monkeypatch, 3)
    recipe = make_recipe(data_set, **NO_SCORES, save_every=1)
    with pytest.raises(UserError, match=r"3 times in a row.*step-00000000.*--resume"):
        run_training(recipe, data_set / "run", "cpu", resume=False)
    assert [path.name for path in (data_set / "run/checkpoints").iterdir()] == ["step-00000000"]


def test_a_stop_that_cannot_be_saved_does_not_say_it_was(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_save(monkeypatch, 1)
    stop_after(monkeypatch, 2)
    with pytest.raises(UserError, match=r"step 2 cannot be written.*the newest is .*step-00000000"):
        run_training(make_recipe(data_set, save_every=9), data_set / "run", "cpu", resume=False)


@pytest.mark.parametrize("place", ["RunLog", "RunLog.append"])
def test_logs_that_cannot_be_written_are_one_warning_each(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, place: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"segmenter.training.log.report.{place}", full)
    monkeypatch.setattr("segmenter.training.log.report.write_curves", full)
    monkeypatch.setitem(tracking._OPEN, "tensorboard", full)
    recipe = make_recipe(data_set, log_every=1, track=["tensorboard"])
    run_training(recipe, data_set / "run", "cpu", resume=False)
    said = capsys.readouterr().err
    for warning in (
        "the log cannot be written",
        "the page of curves cannot be written",
        "tensorboard cannot be used",
    ):
        assert said.count(warning) == 1
    assert (data_set / "run/last.safetensors").is_file()


def test_scoring_that_a_signal_broke_off_is_done_on_resume(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(data_set, **EVERYTHING_RANDOM)
    run_training(recipe, data_set / "unbroken", "cpu", resume=False)

    def read_then_stop(*arguments: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return read_sample(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("segmenter.evaluation.evaluate.read_sample", read_then_stop)
        with pytest.raises(Stopped, match="after step 3"):
            run_training(recipe, data_set / "broken", "cpu", resume=False)
    run_training(recipe, data_set / "broken", "cpu", resume=True)
    scores = [
        [line for line in (data_set / run / "log.jsonl").read_text().splitlines() if "val/" in line]
        for run in ("unbroken", "broken")
    ]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 2
    assert equal(data_set / "unbroken", data_set / "broken")


def test_one_signal_sent_twice_by_a_launcher_is_one_and_a_second_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = []
    monkeypatch.setattr("segmenter.training.signals.os._exit", ended.append)
    monkeypatch.setattr("segmenter.training.signals._SAME_SIGNAL_SECONDS", 600)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.received, ended) == (signal.SIGINT, [])
        stop._received_at -= 601
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [143]


def test_ten_losses_in_a_row_that_are_not_finite_end_the_run(
    data_set: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Loss.__call__
    monkeypatch.setattr(Loss, "__call__", lambda *given: compute(*given) * float("nan"))
    recipe = make_recipe(data_set, **NO_SCORES, schedule={"steps": 30}, save_every=100)
    with pytest.raises(UserError, match=r"not finite 10 times in a row.*lower optimizer\.lr"):
        run_training(recipe, data_set / "run", "cpu", resume=False)
    assert "no weight was moved (crops " in capsys.readouterr().err


def truncate(path: Path) -> None:
    """Leave the header, so that the image is found damaged only when it is decoded."""
    path.write_bytes(path.read_bytes()[:-60])


def test_an_unreadable_image_is_replaced_the_same_way_on_resume(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    truncate(data_set / "images/train/photo-2.png")
    recipe = make_recipe(
        data_set, **EVERYTHING_RANDOM, data={"val": None, "max_unreadable": 0.25}, workers=1
    )
    run_training(recipe, data_set / "unbroken", "cpu", resume=False)
    assert capsys.readouterr().err.count("another image takes its place") == 1
    found = json.loads((data_set / "unbroken/unreadable.jsonl").read_text())
    assert found["image"].endswith("photo-2.png")
    run_with_a_stop(recipe, data_set / "broken", 2, monkeypatch)
    assert capsys.readouterr().err.count("another image takes its place") == 1
    assert equal(data_set / "unbroken", data_set / "broken")


def test_too_many_unreadable_images_stop_the_run(data_set: Path) -> None:
    truncate(data_set / "images/train/photo-1.png")
    truncate(data_set / "images/train/photo-2.png")
    recipe = make_recipe(data_set, data={"val": None, "max_unreadable": 0.25})
    with pytest.raises(UserError, match=r"2 images cannot be read, more than data\.max_unreadable"):
        run_training(recipe, data_set / "run", "cpu", resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_ended_before_its_first_checkpoint_starts_again(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, *, resume: bool
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    recipe = make_recipe(data_set, data={"val": None}, schedule={"steps": 1}, save_every=1)
    run = data_set / "run"
    with monkeypatch.context() as patched:
        patched.setattr(run_training_module, "write_trained_on", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_training(recipe, run, "cpu")
    assert never_saved(run)
    run_training(recipe, run, "cpu", resume=resume)
    assert (run / "last.safetensors").is_file()
    assert not never_saved(run)


@pytest.mark.parametrize("name", ["thesis.txt", "last.safetensors", "checkpoints/step-00000000"])
def test_a_folder_with_anything_to_lose_never_starts_again(tmp_path: Path, name: str) -> None:
    for each in (".lock", "recipe.yaml", name):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).touch()
    assert not never_saved(tmp_path)
    (tmp_path / name).unlink()
    assert never_saved(tmp_path)
    (tmp_path / ".lock").unlink()  # a recipe that the user wrote
    assert not never_saved(tmp_path)
