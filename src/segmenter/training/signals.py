"""Stop on SIGINT and SIGTERM: finish the step, save, and exit."""

import os
import signal
import threading
import time
from types import FrameType

from segmenter.errors import EarlyExit
from segmenter.notebook import is_notebook

# A launcher passes on a signal that the scheduler or the terminal also sends: it is one signal.
_SAME_SIGNAL_SECONDS = 0.5


class Stopped(EarlyExit):
    """A signal ended the run; everything is saved, and `--resume` continues it."""

    exit_status = 128 + signal.SIGTERM
    """143 for either signal: stopped, can be resumed."""

    def __init__(self, step: int | None, *, is_reported: bool = True) -> None:
        after = "" if step is None else f" after step {step}; everything is saved"
        mark = ";" if step is None else ","
        sentence = f"stopped by a signal{after}{mark} continue with --resume"
        super().__init__(sentence if is_reported else "")


class Interrupted(Exception):  # noqa: N818 - no error either
    """A signal interrupted work that is repeated on resume, such as an evaluation."""


class StopSignals:
    """While entered, the first signal is only noted; a second one ends the process at once.

    In a notebook, whose variables would be lost, the second raises `KeyboardInterrupt`. Outside the
    main thread, which alone receives signals, none is noted.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0

    def __enter__(self) -> "StopSignals":
        """Take over the two signals."""
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at > _SAME_SIGNAL_SECONDS:
            if is_notebook():
                raise KeyboardInterrupt
            os._exit(128 + number)
