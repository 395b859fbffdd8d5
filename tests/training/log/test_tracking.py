"""Trackers show what the log holds, each step once, and cannot hold training up."""

import json
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from segmenter import UserError
from segmenter.recipe import Recipe, TrackerName
from segmenter.training.log import tracking
from segmenter.training.log.tracking import TrackedRun, Trackers, require_trackers
from segmenter.training.signals import Stopped
from tests.helpers.runs import log, make_recipe, run_training, stop_after

PICTURE = np.zeros((4, 6, 3), dtype=np.uint8)


class Recorder:
    """A tracker that keeps what it is told, or does something else instead."""

    def __init__(self, on_numbers: Callable[[], object] = lambda: None) -> None:
        self.seen: list[tuple[int, str]] = []
        self.num_pictures = 0
        self.is_closed = False
        self._on_numbers = on_numbers

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        self._on_numbers()
        self.seen += [(step, name) for name in numbers]

    def pictures(self, step: int, pictures: dict) -> None:  # noqa: ARG002
        self.num_pictures += len(pictures)

    def close(self) -> None:
        self.is_closed = True


def fail() -> None:
    raise RuntimeError("no route\nto host")


@pytest.fixture
def open_trackers(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Trackers, list[str]]]:
    """A function that opens recorders, by tracker name, and returns them with what is said."""

    def open_them(told: dict[str, int] | None = None, **recorders: Recorder):
        said: list[str] = []
        for name, recorder in recorders.items():
            monkeypatch.setitem(
                tracking._OPEN, cast(TrackerName, name), lambda _, each=recorder: each
            )
        recipe = make_recipe(data_set, track=list(recorders))
        run = TrackedRun(data_set, recipe, start=0)
        return Trackers(run, told or {}, said.append), said

    return open_them


def test_every_tracker_is_told_everything_and_closed(open_trackers) -> None:
    first, second = Recorder(), Recorder()
    trackers, said = open_trackers(wandb=first, mlflow=second)
    trackers.numbers(1, {"train/loss": 0.5, "train/lr": 0.1})
    trackers.pictures(1, {"val/1": PICTURE})
    trackers.close(hurry=False)
    for each in (first, second):
        assert each.seen == [(1, "train/loss"), (1, "train/lr")]
        assert (each.num_pictures, each.is_closed) == (1, True)
    assert said == []


def test_one_that_fails_is_dropped_with_one_warning_and_the_other_goes_on(open_trackers) -> None:
    broken, whole = Recorder(fail), Recorder()
    trackers, said = open_trackers(wandb=broken, mlflow=whole)
    for step in range(5):
        trackers.numbers(step, {"train/loss": 0.5})
    trackers.close(hurry=False)
    assert said == ["warning: wandb is no longer told of this run (no route)"]
    assert [step for step, _ in whole.seen] == list(range(5))


def test_one_that_cannot_be_opened_is_a_warning(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking._OPEN, "wandb", lambda _: fail())
    said: list[str] = []
    run = TrackedRun(data_set, make_recipe(data_set, track=["wandb"]), start=0)
    assert not Trackers(run, {}, said.append)
    assert said == ["warning: wandb cannot be used (no route); training continues"]


def test_one_that_hangs_holds_nothing_up(open_trackers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_HURRIED_SECONDS", 0.1)
    monkeypatch.setattr(tracking, "_CLOSE_SECONDS", 600.0)
    released = threading.Event()
    trackers, said = open_trackers(mlflow=Recorder(released.wait))
    start = time.monotonic()
    for step in range(2 * tracking._MAX_WAITING):
        trackers.numbers(step, {"train/loss": 0.5})
    trackers.close(hurry=True)
    assert time.monotonic() - start < 60
    assert said == ["warning: mlflow is no longer told of this run (it does not keep up)"]
    assert not trackers
    released.set()


def test_one_that_does_not_end_is_left(open_trackers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_HURRIED_SECONDS", 0.1)
    released = threading.Event()
    trackers, said = open_trackers(wandb=Recorder(released.wait))
    trackers.numbers(1, {"train/loss": 0.5})
    trackers.close(hurry=True)
    assert "did not end in time" in said[0]
    released.set()


def test_only_what_hides_steps_by_itself_is_told_them_twice(open_trackers) -> None:
    hides, appends = Recorder(), Recorder()
    told = {"train/loss": 5, "val/miou": 4}
    trackers, _ = open_trackers(told, tensorboard=hides, mlflow=appends)
    for step in (4, 5, 6):
        trackers.numbers(step, {"train/loss": 0.5, "val/miou": 0.5})
        trackers.pictures(step, {"val/1": PICTURE})
    trackers.close(hurry=False)
    assert [step for step, name in hides.seen if name == "train/loss"] == [4, 5, 6]
    assert appends.seen == [(5, "val/miou"), (6, "train/loss"), (6, "val/miou")]
    assert (hides.num_pictures, appends.num_pictures) == (3, 2)


def test_what_is_not_installed_is_named_with_its_extra_before_anything_is_written(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking._MODULES, "wandb", "no_such_module")
    with pytest.raises(UserError, match=r"wandb needs no_such_module, not installed; .*\[track\]"):
        run_training(make_recipe(data_set, track=["wandb"]), data_set / "run", "cpu", resume=False)
    assert not (data_set / "run").exists()


def broken_and_resumed(data_set: Path, monkeypatch: pytest.MonkeyPatch, tracker: str) -> Path:
    """A run that loses its newest checkpoint, so that it takes logged steps again."""
    recipe = make_recipe(data_set, track=[tracker], log_every=1, evaluate_every=2)
    run = data_set / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stopped):
            run_training(recipe, run, "cpu", resume=False)
    (run / "checkpoints/step-00000005/state.json").write_text("damaged")
    run_training(recipe, run, "cpu", resume=True)
    assert [line["step"] for line in log(run) if "train/loss" in line] == list(range(1, 7))
    return run


def test_tensorboard_shows_each_step_once_and_the_pictures_of_each_scoring(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    run = broken_and_resumed(data_set, monkeypatch, "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 7))
    kept = [line["train/loss"] for line in log(run) if "train/loss" in line]
    assert [event.value for event in losses] == pytest.approx(kept)
    assert events.Tags()["images"] == [f"val/{i}-photo-{i - 1}" for i in (1, 2, 3, 4)]
    drawn = events.Images("val/1-photo-0")
    assert [event.step for event in drawn] == [2, 4, 6]
    assert (drawn[0].width, drawn[0].height) == (4 * 64, 64)


@pytest.mark.slow
def test_wandb_offline_keeps_one_run_with_each_step_once(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_or_skip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = broken_and_resumed(data_set, monkeypatch, "wandb")
    wandb_internal_pb2 = import_module("wandb.proto.wandb_internal_pb2")

    run_id = json.loads((run / "trackers.json").read_text())["wandb"]
    logged = []
    for path in sorted((run / "wandb").glob(f"offline-run-*-{run_id}/*.wandb")):
        for data in leveldb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {item.key or "/".join(item.nested_key): item for item in record.history.item}
            if "train/loss" in items:
                logged.append((record.history.step.num, json.loads(items["train/loss"].value_json)))
    kept = [(line["step"], line["train/loss"]) for line in log(run) if "train/loss" in line]
    assert [step for step, _ in logged] == [step for step, _ in kept]
    assert [value for _, value in logged] == pytest.approx([value for _, value in kept])
    assert list((run / "wandb").rglob("*.png"))


@pytest.mark.slow
def test_mlflow_file_store_keeps_one_run_with_each_step_once(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_or_skip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = broken_and_resumed(data_set, monkeypatch, "mlflow")
    client = import_module("mlflow").MlflowClient((run / "mlflow").absolute().as_uri())
    run_id = json.loads((run / "trackers.json").read_text())["mlflow"]
    history = client.get_metric_history(run_id, "train/loss")
    kept = [(line["step"], line["train/loss"]) for line in log(run) if "train/loss" in line]
    assert [(metric.step, metric.value) for metric in history] == kept
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.lr"] == "0.001"
    assert list((run / "mlflow").rglob("*.png"))


def leveldb_records(data: bytes) -> list[bytes]:
    """The records of a log in LevelDB's format, which wandb's offline files have after 7 bytes."""
    records, parts, place = [], b"", 7
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            records.append(parts)
            parts = b""
    return records


def require_or_skip(name: TrackerName) -> None:
    """Skip where the extra is not installed; `make install` leaves it out, as it is large."""
    try:
        require_trackers([name])
    except UserError as missing:
        pytest.skip(str(missing))


def test_a_recipe_names_known_trackers_only(data_set: Path) -> None:
    content = make_recipe(data_set).model_dump(mode="json") | {"track": ["visdom"]}
    with pytest.raises(ValueError, match="tensorboard"):
        Recipe.model_validate(content)
