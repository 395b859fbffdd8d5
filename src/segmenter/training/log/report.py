"""Reports of a run while it trains: a progress display, a log, a page of curves, trackers.

Nothing here may stop training: what cannot be written is a warning, once.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from segmenter.memory import peak_memory
from segmenter.notebook import make_progress
from segmenter.recipe import Recipe
from segmenter.terminal import Countdown
from segmenter.text import percent
from segmenter.training.log.curves import write_curves
from segmenter.training.log.files import RunLog
from segmenter.training.log.lines import log_to
from segmenter.training.log.time_left import FIRST_STEPS, TimeLeft
from segmenter.training.log.tracking import Pictures, TrackedRun, Trackers, in_one_line


class TrainingReport:
    """Measure a run, and show and store its losses, scores and times.

    Args:
        folder: The run's; None: nothing is kept. Of several processes, one keeps the logs.
        recipe: What is run.
        start: Steps done; what the logs hold of later ones is taken back.
        console: Where progress is shown.
    """

    def __init__(
        self, folder: Path | None, recipe: Recipe, *, start: int, console: Console
    ) -> None:
        self._folder, self._recipe = folder, recipe
        self._console = console
        self._complaints: set[str] = set()
        self._log: RunLog | None = None
        self._trackers: Trackers | None = None
        if folder is not None:
            self._quietly("the log cannot be written", lambda: self._open_log(folder, start))
            last_logged = self._log.last_logged if self._log else {}
            self._trackers = Trackers(TrackedRun(folder, recipe, start), last_logged, self.say)
        self._time_left = TimeLeft(recipe, start=start)
        self._progress = make_progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task(
            "training", total=recipe.schedule.steps, completed=start, left=""
        )
        self._reset()

    def __enter__(self) -> "TrainingReport":
        """Show the progress bar."""
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the progress bar, draw the curves, and close the logs."""
        self._progress.stop()
        self._draw_curves()
        if self._trackers is not None:
            self._trackers.close(hurry=kind is not None)

    def waited_for_data(self, seconds: float) -> None:
        """Count time in which the model had nothing to do."""
        self._waited += seconds

    def step(self, step: int, *, loss: float, lr: float, grad_norm: float) -> None:
        """Count one update, `step` being the number done; write a line every `log_every`."""
        self._losses.append(loss)
        self._num_images += self._recipe.batch_size
        self._time_left.step(step)
        left = self._time_left.describe()
        self._progress.update(self._bar, completed=step, left=left)
        if self._time_left.num_steps == FIRST_STEPS and step < self._recipe.schedule.steps:
            self.say(self._describe_pace())
        if step % self._recipe.log_every:
            return
        seconds = time.perf_counter() - self._since
        numbers = {
            "train/loss": sum(self._losses) / len(self._losses),
            "train/lr": lr,
            "train/grad_norm": grad_norm,
            "train/images_per_second": self._num_images / seconds,
            "train/data_wait_share": self._waited / seconds,
        }
        memory = peak_memory()
        if memory is not None:
            numbers["train/memory_gib"] = memory / 2**30
        self.numbers(step, numbers)
        self.say(
            f"step {step}  loss {numbers['train/loss']:.4f}  lr {lr:.2e}  "
            f"{numbers['train/images_per_second']:.2f} images/s  "
            f"data wait {numbers['train/data_wait_share']:.0%}"
            + (f"  memory {memory / 2**30:.1f} GiB" if memory is not None else "")
            + (f"  {left}" if left and step < self._recipe.schedule.steps else "")
        )
        self._reset()

    def evaluating(self, total: int) -> Callable[[], None]:
        """Return a function that counts each of `total` images as it is evaluated."""
        shown = self._progress.tasks[0].description
        is_bar_shown = not self._progress.disable
        countdown = Countdown(
            f"evaluating {total} images", total, self.say, repeats=not is_bar_shown
        )
        num_done = 0

        def count() -> None:
            nonlocal num_done
            num_done += 1
            self._progress.update(
                self._bar,
                description=f"evaluating {num_done}/{total}" if num_done < total else shown,
            )
            countdown()

        return count

    def score(
        self,
        step: int,
        miou: float,
        *,
        is_best: bool,
        draw: Callable[[], Pictures] | None = None,
    ) -> None:
        """Note a score on the validation split.

        Args:
            step: Updates done.
            miou: From 0 to 1.
            is_best: Whether it is the best so far.
            draw: Draws validation images; called only if a tracker shows them.
        """
        self._time_left.evaluated()
        self.numbers(step, {"val/miou": miou})
        self.say(f"step {step}  val mIoU {percent(miou)}{'  (best so far)' if is_best else ''}")
        self._progress.update(self._bar, description=f"training, val mIoU {percent(miou)}")
        trackers = self._trackers
        if draw is not None and trackers:
            self._quietly(
                "validation images cannot be drawn", lambda: trackers.pictures(step, draw())
            )
        self._draw_curves()
        self._reset()

    def say(self, sentence: str) -> None:
        """Show one line above the progress bar."""
        log_to(self._console)(sentence)

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        """Keep numbers of a step in the log and in the trackers."""
        log = self._log
        if log is not None:
            self._quietly("the log cannot be written", lambda: log.append(step, numbers))
        if self._trackers is not None:
            self._trackers.numbers(step, numbers)

    def _describe_pace(self) -> str:
        """Return what the first steps took, and what the run will take."""
        pace = self._time_left.seconds_per_step or 0.0
        held = (("memory", peak_memory()), ("GPU memory", torch.cuda.max_memory_allocated()))
        peaks = [f"peak {name} {size / 2**30:.1f} GiB" for name, size in held if size]
        parts = (f"{pace:.2f} s a step", self._time_left.describe(), *peaks)
        return f"after {FIRST_STEPS} steps: {', '.join(parts)}"

    def _open_log(self, folder: Path, start: int) -> None:
        self._log = RunLog(folder, start)

    def _draw_curves(self) -> None:
        folder, recipe = self._folder, self._recipe
        if folder is not None:
            self._quietly(
                "the page of curves cannot be written",
                lambda: write_curves(folder, recipe.name, recipe.schedule.steps),
            )

    def _quietly(self, complaint: str, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # whatever it is, the weights matter more
            if complaint not in self._complaints:
                self.say(f"warning: {complaint} ({in_one_line(error)}); training continues")
            self._complaints.add(complaint)

    def _reset(self) -> None:
        self._since = time.perf_counter()
        self._losses: list[float] = []
        self._num_images = 0
        self._waited = 0.0
