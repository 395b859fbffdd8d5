"""Lines for the terminal, beside the progress bar."""

from collections.abc import Callable

from rich.console import Console

from segmenter.spelling import spelled
from segmenter.text import visible

Log = Callable[[str], None]
"""Shows one line, or several."""


def log_to(console: Console) -> Log:
    """Return a function that shows a line as it is, without markup or wrapping."""

    def log(line: str) -> None:
        console.print(
            visible(spelled(line), keep="\n"), highlight=False, markup=False, soft_wrap=True
        )

    return log
