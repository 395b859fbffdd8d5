"""Send a run to trackers: TensorBoard, Weights & Biases, MLflow.

Each gets what it shows in a thread of its own, through a queue, so that none can hold training
up: one that fails or does not keep up is dropped with a warning.
"""

import contextlib
import json
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import UInt8
from numpy import ndarray

from segmenter.files.optional import import_optional
from segmenter.files.outputs import write_atomically
from segmenter.files.regular import read_regular
from segmenter.recipe import Recipe, TrackerName

Pictures = Mapping[str, UInt8[ndarray, "height width 3"]]
"""RGB by name; names hold letters, digits, and . _ - / alone."""

_MODULES: dict[TrackerName, str] = {
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
}
_MAX_WAITING = 1000  # calls in a queue: at a line every 20 steps, 20,000 steps
_CLOSE_SECONDS = 30.0  # to send what is left after the last step
_HURRIED_SECONDS = 3.0  # the same when a signal or an error ends the run
_IDS_FILE = "trackers.json"
_MAX_IDS_BYTES = 1 << 20
_PROJECT = "segmenter"


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Import what the trackers need, before a run is begun.

    Raises:
        UserError: If something is not installed.
    """
    for name in names:
        import_optional(f"track: {name}", _MODULES[name], extra="track")


@dataclass(frozen=True)
class TrackedRun:
    """Facts of a run for a tracker."""

    folder: Path
    recipe: Recipe
    start: int
    """Steps done."""


@runtime_checkable
class Tracker(Protocol):
    """A display of a run; any call may raise anything and take any time."""

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show numbers of a step."""
        ...

    def pictures(self, step: int, pictures: Pictures) -> None:
        """Show pictures of a step."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class Trackers:
    """All trackers of a run as one; no call raises or waits.

    Args:
        run: The run.
        last_logged: The last step at which each number was logged before the run was resumed. W&B
            and MLflow can take nothing back, so they do not get it again.
        say: Shows a warning.
    """

    def __init__(
        self, run: TrackedRun, last_logged: Mapping[str, int], say: Callable[[str], None]
    ) -> None:
        self._last_logged = last_logged
        self._active: list[_InBackground] = []
        for name in dict.fromkeys(run.recipe.track):
            try:
                tracker = _OPEN[name](run)
            except Exception as error:
                say(f"warning: {name} cannot be used ({in_one_line(error)}); training continues")
            else:
                self._active.append(_InBackground(name, tracker, say))

    def __bool__(self) -> bool:
        """Return True if a tracker is left that shows numbers and pictures."""
        return any(not each.is_dropped for each in self._active)

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show numbers of a step everywhere."""
        new = {
            name: value for name, value in numbers.items() if step > self._last_logged.get(name, -1)
        }
        for each in self._active:
            known = numbers if each.forgets else new
            if known:
                each.put(lambda t=each.tracker, known=known: t.numbers(step, known))

    def pictures(self, step: int, pictures: Pictures) -> None:
        """Show pictures of a scoring everywhere."""
        is_new = step > self._last_logged.get("val/miou", -1)
        for each in self._active:
            if each.forgets or is_new:
                each.put(lambda t=each.tracker: t.pictures(step, pictures))

    def close(self, *, hurry: bool) -> None:
        """Send what is left, for a limited time: a short one if `hurry`."""
        for each in self._active:
            each.put(each.tracker.close)
            each.put(None)
        deadline = time.monotonic() + (_HURRIED_SECONDS if hurry else _CLOSE_SECONDS)
        for each in self._active:
            each.join(max(deadline - time.monotonic(), 0))


class _InBackground:
    """A tracker behind a queue, in a thread that does not keep the process alive."""

    def __init__(self, name: TrackerName, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.tracker = tracker
        self.forgets = name == "tensorboard"
        """True: it drops repeated values by itself."""
        self.is_dropped = False
        self._name, self._say = name, say
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_MAX_WAITING)
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, call: Callable[[], None] | None) -> None:
        if self.is_dropped:
            return
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._drop("it does not keep up")

    def join(self, seconds: float) -> None:
        self._thread.join(0 if self.is_dropped else seconds)
        if self._thread.is_alive() and not self.is_dropped:
            self._drop("it did not end in time, what is left is not sent")

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call()
            except Exception as error:
                self._drop(in_one_line(error))
                return

    def _drop(self, reason: str) -> None:
        self.is_dropped = True
        self._say(f"warning: {self._name} is no longer told of this run ({reason})")


class _TensorBoard:
    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What was written after the checkpoint stays in its file, and is no longer shown.
        self._writer = SummaryWriter(run.folder / "tensorboard", purge_step=run.start + 1)

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, step: int, pictures: Pictures) -> None:
        for name, picture in pictures.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """Online where the user is logged in, else offline: a question would hold training up."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - of an extra

        self._to_image = wandb.Image
        is_online = os.environ.get("WANDB_MODE", "online") == "online"
        # Nothing may be asked: nobody may be there to answer.
        can_send = is_online and wandb.login(prompt=False)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=run.recipe.name,
            id=_stored_id(run.folder, "wandb", lambda: secrets.token_hex(8)),
            resume="allow",
            dir=run.folder,
            config=run.recipe.model_dump(mode="json"),
            mode="offline" if is_online and not can_send else None,
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=30, finish_timeout=_CLOSE_SECONDS
            ),
        )

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def pictures(self, step: int, pictures: Pictures) -> None:
        self._run.log({name: self._to_image(each) for name, each in pictures.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    """MLflow at MLFLOW_TRACKING_URI if it is set, else in the folder of the run."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]

        self._metric = Metric
        folder = (run.folder / "mlflow").absolute().as_uri()
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", folder))
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)

        def create() -> str:
            experiment = self._client.get_experiment_by_name(project)
            experiment_id = (
                experiment.experiment_id if experiment else self._client.create_experiment(project)
            )
            created = self._client.create_run(experiment_id, run_name=run.recipe.name)
            fields = _flat(run.recipe.model_dump(mode="json"))
            parameters = [Param(name, str(value)) for name, value in fields.items()]
            self._client.log_batch(created.info.run_id, params=parameters)
            return created.info.run_id

        self._id = _stored_id(run.folder, "mlflow", create)
        self._client.update_run(self._id, status="RUNNING")

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def pictures(self, step: int, pictures: Pictures) -> None:
        for name, picture in pictures.items():
            self._client.log_image(self._id, picture, key=name, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._id)


_OPEN: dict[TrackerName, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WeightsAndBiases,
    "mlflow": _MLflow,
}


def _stored_id(folder: Path, name: TrackerName, create: Callable[[], str]) -> str:
    """Return the tracker's identifier of this run, with which a resumed run continues."""
    path = folder / _IDS_FILE
    ids: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        ids = json.loads(read_regular(path, _MAX_IDS_BYTES))
    if name not in ids:
        ids[name] = create()
        write_atomically(path, json.dumps(ids).encode())
    return ids[name]


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as `section.field`."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def in_one_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
