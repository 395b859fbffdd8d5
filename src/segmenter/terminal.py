"""Print with rich: text from outside, progress bars, and the time that is left."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich import markup
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from segmenter.notebook import is_notebook, make_progress, message_console
from segmenter.spelling import spelled
from segmenter.text import duration, visible

_SHORT_SECONDS = 10.0
"""Work that takes no longer than this is not announced."""
_REPEAT_SECONDS = 60.0
_ENOUGH_SECONDS, _ENOUGH_DONE = 2.0, 5
"""Seconds and items before a time is estimated; the first item warms up and does not count."""


def escape(text: str) -> str:
    """Text that neither rich nor a terminal obeys."""
    return markup.escape(visible(text))


def command_line(*words: str | Path) -> str:
    """Return a command of segmenter for the user to repeat, as a shell of this system reads it."""
    line = ["segmenter", *map(str, words)]
    return shlex.join(line) if os.name == "posix" else subprocess.list2cmdline(line)


def show(line: str, console: Console | None = None) -> None:
    """Print a line as it is, on standard error if no console is given."""
    (console or message_console()).print(
        visible(spelled(line)), highlight=False, markup=False, soft_wrap=True
    )


@contextmanager
def progress_bar(
    what: str,
    total: int | None = None,
    *columns: ProgressColumn,
    console: Console | None = None,
) -> Iterator[Callable[..., None]]:
    """Show a bar until the block ends; nothing where there is neither terminal nor notebook.

    Args:
        what: Stands before the bar.
        total: How many there are; None where it is not known yet.
        columns: What stands behind `what`; if omitted, a bar, per cent and the time that is left.
        console: Where it is shown; if omitted, standard error.

    Yields:
        Moves the bar on: by one, or to `done`, of `total`.
    """
    console = console or message_console()
    shown = ("{task.description}", *columns) if columns else Progress.get_default_columns()
    # Without a terminal, it would leave an empty line.
    with make_progress(
        *shown, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(what, total=total)

        def move(done: int | None = None, total: int | None = None) -> None:
            step = 1 if done is None else None
            progress.update(bar, completed=done, advance=step, total=total)

        yield move


class Countdown:
    """Say how long a number of equal pieces of work takes, after the first of them.

    Args:
        what: Begins the line, such as `evaluating 200 images`.
        total: How many there are.
        say: Shows a line.
        repeats: Say it again once a minute, for where no bar shows it.
        hint: Added where the work takes a minute or more.
        clock: Gives seconds.
    """

    def __init__(
        self,
        what: str,
        total: int,
        say: Callable[[str], None],
        *,
        repeats: bool = True,
        hint: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._what, self._total, self._say = what, total, say
        self._repeats, self._hint, self._clock = repeats, hint, clock
        self._done, self._first, self._told = 0, 0.0, None

    def __call__(self) -> None:
        """Count one piece that is done."""
        self._done += 1
        now = self._clock()
        if self._done == 1:
            self._first = now
            return
        seconds = now - self._first
        left = seconds / (self._done - 1) * (self._total - self._done)
        if self._told is None:
            if seconds < _ENOUGH_SECONDS and self._done < _ENOUGH_DONE:
                return
            self._told = now
            if left >= _SHORT_SECONDS:
                hint = f"; {self._hint}" if self._hint and left >= _REPEAT_SECONDS else ""
                self._say(f"{self._what}: about {duration(left)}{hint}")
        elif self._repeats and now - self._told >= _REPEAT_SECONDS and self._done < self._total:
            self._told = now
            self._say(f"{self._done} of {self._total} done, about {duration(left)} left")


@contextmanager
def timed_progress(what: str, total: int, *, hint: str = "") -> Iterator[Callable[[], None]]:
    """Show a bar and, after the first of them, how long the others will take.

    Args:
        what: Stands before the bar and begins the line, such as `evaluating 200 images`.
        total: How many there are.
        hint: Added to the line where the others take a minute or more.

    Yields:
        Counts one that is done.
    """
    console = message_console()
    say = partial(show, console=console)
    is_bar_shown = console.is_terminal or is_notebook()
    countdown = Countdown(what, total, say, repeats=not is_bar_shown, hint=hint)
    with progress_bar(what, total, console=console) as advance:

        def count() -> None:
            advance()
            countdown()

        yield count
