"""What a run tells while it goes: a progress display, a log of JSON lines, TensorBoard.

Nothing here may stop training: a log that cannot be written is a warning, once.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from segmenter.errors import UserError
from segmenter.outputs import write_atomically

_BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class TrainingReport:
    """Watch a run: times, means of the loss, and where they are shown and kept.

    Without a folder nothing is kept: of several processes, one keeps the log.
    """

    def __init__(
        self, folder: Path | None, *, steps: int, start: int, log_every: int, console: Console
    ) -> None:
        self._log_every = log_every
        self._log_path = folder / "log.jsonl" if folder else None
        self._console = console
        self._complained = False
        self._tensorboard: SummaryWriter | None = None
        if folder is not None:
            self._quietly(lambda: self._open(folder, start))
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("training", total=steps, completed=start)
        self._reset()

    def __enter__(self) -> "TrainingReport":
        """Show the progress bar."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the progress bar away and close the logs."""
        self._progress.stop()
        if self._tensorboard is not None:
            self._quietly(self._tensorboard.close)

    def waited_for_data(self, seconds: float) -> None:
        """Count time in which the model had nothing to do."""
        self._waited += seconds

    def step(self, step: int, *, loss: float, lr: float, grad_norm: float, num_images: int) -> None:
        """Count one update, `step` being the number done; write a line every `log_every`."""
        self._losses.append(loss)
        self._num_images += num_images
        self._progress.update(self._bar, completed=step)
        if step % self._log_every:
            return
        seconds = time.perf_counter() - self._since
        numbers = {
            "train/loss": sum(self._losses) / len(self._losses),
            "train/lr": lr,
            "train/grad_norm": grad_norm,
            "train/images_per_second": self._num_images / seconds,
            "train/data_wait_share": self._waited / seconds,
            "train/memory_gib": peak_memory_bytes() / 2**30,
        }
        self.numbers(step, numbers)
        self.say(
            f"step {step}  loss {numbers['train/loss']:.4f}  lr {lr:.2e}  "
            f"{numbers['train/images_per_second']:.2f} images/s  "
            f"data wait {numbers['train/data_wait_share']:.0%}  "
            f"memory {numbers['train/memory_gib']:.1f} GiB"
        )
        self._reset()

    def score(self, step: int, miou: float, *, is_best: bool) -> None:
        """Note a score on the validation split."""
        self.numbers(step, {"val/miou": miou})
        self.say(f"step {step}  val mIoU {miou:.4f}{'  (best so far)' if is_best else ''}")
        self._progress.update(self._bar, description=f"training, val mIoU {miou:.4f}")
        self._reset()

    def say(self, sentence: str) -> None:
        """Show one line above the progress bar."""
        self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        """Keep numbers of a step in the log and in TensorBoard."""
        self._quietly(lambda: self._append({"step": step} | numbers))
        writer = self._tensorboard
        if writer is not None:
            for name, value in numbers.items():
                self._quietly(lambda n=name, v=value: writer.add_scalar(n, v, step))

    def _open(self, folder: Path, start: int) -> None:
        """Take away what a run that died wrote after its last checkpoint, and begin."""
        path = folder / "log.jsonl"
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = "".join(f"{line}\n" for line in lines if _step_of(line) <= start)
            write_atomically(path, kept.encode())
        self._tensorboard = SummaryWriter(folder / "tensorboard", purge_step=start + 1)

    def _append(self, line: dict[str, Any]) -> None:
        if self._log_path is None:
            return
        with self._log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, UserError) as error:
            if not self._complained:
                self.say(f"warning: the log cannot be written ({error}); training goes on")
            self._complained = True

    def _reset(self) -> None:
        self._since = time.perf_counter()
        self._losses: list[float] = []
        self._num_images = 0
        self._waited = 0.0


def _step_of(line: str) -> int | float:
    """The step that a line of the log is about; none if the line was cut short."""
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return float("inf")


def peak_memory_bytes() -> int:
    """The most memory that this process has held at one time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_RSS_UNIT
