"""Stopping on SIGINT and SIGTERM: finish the step, save, and then go."""

import os
import signal
from types import FrameType


class Stopped(Exception):  # noqa: N818 - it is no error, and nothing is lost
    """A signal ended the run; everything is saved. `exit_status` is 128 + the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; everything is saved")
        self.exit_status = 128 + signal_number


class StopSignals:
    """While entered, the first signal is only noted; a second one ends the process at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "StopSignals":
        """Take over the two signals."""
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
