"""One at a time, in the order in which they asked."""

import threading
from collections import deque


class Turns:
    """A lock that is handed to who has waited longest; who gives it back waits behind the others.

    `threading.Lock` is mostly taken again by the thread that has just released it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()
        self._is_taken = False

    def __enter__(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            turn = threading.Event()
            self._line.append(turn)
        turn.wait()

    def __exit__(self, *_error: object) -> None:
        """Hand the turn on."""
        with self._lock:
            if self._line:
                self._line.popleft().set()
            else:
                self._is_taken = False
