"""Messages and bars of progress where the process is the kernel of a notebook."""

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

_SECONDS_PER_UPDATE = 0.5
"""A notebook keeps up with fewer changes than a terminal."""


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    return Console().is_jupyter


def message_console(*, quiet: bool = False) -> Console:
    """Return where messages go: standard error, or in a notebook the output of its cell."""
    # While a bar is shown, rich puts a stream of its own in the place of standard error, through
    # which a console without a file would no longer reach the one that lets its codes pass.
    file = None if is_notebook() else sys.stderr
    # By itself, rich makes a block of HTML of each line in a notebook.
    return Console(file=file, force_jupyter=False, quiet=quiet)


def make_progress(
    *columns: str | ProgressColumn, console: Console, transient: bool = False, disable: bool = False
) -> Progress:
    """Return bars of progress that move in a terminal, and in a notebook without ipywidgets.

    Args:
        columns: Parts of a line, as for `rich.progress.Progress`.
        console: The terminal.
        transient: Whether the bars vanish at the end.
        disable: Whether none are shown outside a notebook.
    """
    if is_notebook():
        return NotebookProgress(*columns, console=console, transient=transient)
    return Progress(*columns, console=console, transient=transient, disable=disable)


class NotebookProgress(Progress):
    """Bars of progress as an output of a cell, which is replaced as they move."""

    _handle: Any = None
    _shown_at = 0.0

    def start(self) -> None:
        """Show the bars below the cell."""
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        self._handle = display(self, display_id=True)

    def update(self, *arguments: Any, **keywords: Any) -> None:
        """Move a bar, as `rich.progress.Progress.update` does."""
        super().update(*arguments, **keywords)
        if time.monotonic() - self._shown_at > _SECONDS_PER_UPDATE:
            self._show()

    def stop(self) -> None:
        """Show the bars as they are at the end, or nothing if they are transient."""
        if self._handle is not None and self.live.transient:
            self._handle.update({"text/plain": ""}, raw=True)
        else:
            self._show()
        self._handle = None

    def _show(self) -> None:
        if self._handle is not None:
            self._handle.update(self)
            self._shown_at = time.monotonic()
