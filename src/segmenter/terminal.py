"""What rich prints: text from outside, and bars of progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import markup
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from segmenter.text import visible


def escape(text: str) -> str:
    """Text that neither rich nor a terminal obeys."""
    return markup.escape(visible(text))


@contextmanager
def progress_bar(
    what: str, total: int | None = None, *columns: ProgressColumn
) -> Iterator[Callable[..., None]]:
    """Show a bar until the block ends; nothing where there is no terminal.

    Args:
        what: Stands before the bar.
        total: How many there are; None where it is not known yet.
        columns: What stands behind `what`; if omitted, a bar, per cent and the time that is left.

    Yields:
        Moves the bar on: by one, or to `done`, of `total`.
    """
    console = Console(stderr=True)
    shown = ("{task.description}", *columns) if columns else Progress.get_default_columns()
    # Where there is no terminal, it would leave an empty line.
    with Progress(
        *shown, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(what, total=total)

        def move(done: int | None = None, total: int | None = None) -> None:
            step = 1 if done is None else None
            progress.update(bar, completed=done, advance=step, total=total)

        yield move
