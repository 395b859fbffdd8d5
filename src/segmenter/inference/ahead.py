"""Stages of work that overlap: each in a thread of its own, a few items ahead of the next."""

import signal
import time
from collections.abc import Callable, Generator, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0


class _End(NamedTuple):
    """What stands in the queue after the last item."""

    error: BaseException | None


def ahead(
    items: Generator[Item, None, None], size: int, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Item]:
    """Run a generator in a thread, up to `size` items ahead of whoever takes them.

    Items come in their order, and an error where it would have come. When the taker leaves, the
    generator is closed, in its thread, as soon as it yields.

    Args:
        items: Used, from now on, by that thread alone.
        size: How many items may wait.
        stopped: Once true, a generator that gives nothing for two seconds, such as a camera that
            hangs, is left to itself.
    """
    queue: Queue[Item | _End] = Queue(size)
    left = Event()

    def put(item: Item | _End) -> None:
        while not left.is_set():
            try:
                return queue.put(item, timeout=_POLL_SECONDS)
            except Full:
                pass

    def run() -> None:
        if hasattr(signal, "pthread_sigmask"):  # else a signal may break off what is being read
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        error = None
        try:
            for item in items:
                put(item)
                if left.is_set():
                    break
        except BaseException as raised:
            error = raised
        finally:
            items.close()
        put(_End(error))

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        last = time.monotonic()
        while True:
            try:
                item = queue.get(timeout=_POLL_SECONDS)
            except Empty:
                if stopped() and time.monotonic() - last > _PATIENCE_SECONDS:
                    return
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            last = time.monotonic()
    finally:
        left.set()
        thread.join(_PATIENCE_SECONDS)
