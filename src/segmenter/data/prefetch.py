"""Read ahead: map a function over items in threads, a bounded number of results ahead.

Evaluation, prediction, videos and `segmenter check` read through it. Training does not
(`readers.py`): its crops are made in processes, in memory that the trainer sees without a copy.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0
_END: Any = object()
"""The result after the last."""


def prefetch(
    function: Callable[[Input], Output],
    items: Iterable[Input],
    size: int | Callable[[], int],
    *,
    threads: int = 1,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Output, None, None]:
    """Map a function over items in threads, up to `size` results ahead of the caller.

    Results come in the order of the items, and an error comes where its result would have come.
    When the caller leaves, each thread ends after its present item, and `items` is closed if it is
    a generator.

    Args:
        function: Computes a result; runs in several threads at once if `threads` is above 1.
        items: Iterated in these threads, by one at a time.
        size: Number of results that may be ready or in the making, besides the one that the caller
            waits for; a callable is asked anew for each result.
        threads: Number of threads.
        stopped: Once true, a result that takes over two seconds, such as a frame of a camera that
            hangs, is given up, and with it all that would follow.
    """
    work = _Work(function, items)
    crew = [Thread(target=work.run, name=f"read-{i}", daemon=True) for i in range(threads)]
    for thread in crew:
        thread.start()
    waiting: deque[Future[Output]] = deque()
    try:
        while True:
            while len(waiting) <= (size() if callable(size) else size):
                waiting.append(work.request())
            result = _wait_for(waiting.popleft(), stopped)
            if result is _END:
                return
            yield result
            del result  # not held while the next is waited for
    finally:
        for future in waiting:
            future.cancel()
        work.end()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for thread in crew:
            thread.join(max(0.0, deadline - time.monotonic()))


class _Work(Generic[Input, Output]):
    """Requests for results, and what the threads do to answer them."""

    def __init__(self, function: Callable[[Input], Output], items: Iterable[Input]) -> None:
        self._function = function
        self._items: Iterator[Input] = iter(items)
        self._turn = Lock()
        self._requests: SimpleQueue[Future[Output] | None] = SimpleQueue()

    def request(self) -> Future[Output]:
        """Ask for the next result."""
        future: Future[Output] = Future()
        self._requests.put(future)
        return future

    def end(self) -> None:
        """End each thread when it has answered what was asked before."""
        self._requests.put(None)

    def run(self) -> None:
        """Answer requests until the end, in a thread."""
        if hasattr(signal, "pthread_sigmask"):  # else a signal may break off what is being read
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while self._answer():
            pass

    def _answer(self) -> bool:
        """Compute one result; return False at the end."""
        with self._turn:  # so that items are taken in the order of the requests
            future = self._requests.get()
            if future is None:
                self._requests.put(None)  # for the other threads
                getattr(self._items, "close", lambda: None)()
                return False
            if not future.set_running_or_notify_cancel():
                return True
            try:
                item = next(self._items)
            except StopIteration:
                future.set_result(_END)
                return True
            except BaseException as error:
                future.set_exception(error)
                return True
        try:
            future.set_result(self._function(item))
        except BaseException as error:
            future.set_exception(error)
        return True


def _wait_for(future: Future[Output], stopped: Callable[[], bool]) -> Output:
    """Return a result, or `_END` if it is given up."""
    start = time.monotonic()
    try:
        while not wait([future], _POLL_SECONDS).done:
            if stopped() and time.monotonic() - start > _PATIENCE_SECONDS:
                return _END
        return future.result()
    finally:
        del future  # an error keeps this frame, and must not be kept by it
