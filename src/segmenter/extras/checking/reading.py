"""Reading a whole data set in parallel processes, in order, whatever is in its files."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2

from segmenter.classes import Classes
from segmenter.data.pairing.items import Item
from segmenter.data.prefetch import prefetch
from segmenter.data.readers import end_with_parent
from segmenter.extras.checking.item_inspection import Inspection, inspect, unread

_CHUNK = 8
"""Items that a process is handed at a time."""
_CHUNKS_AHEAD = 4
"""Chunks on their way, for each process."""


def default_workers(num_items: int) -> int:
    """Processes that pay: they take half a second to start; 0: this process reads alone."""
    return 0 if num_items < 100 else min(os.cpu_count() or 1, 16)


def inspect_all(items: Sequence[Item], classes: Classes, workers: int) -> Iterator[Inspection]:
    """Read every item; the results come in the order of the items.

    A file that ends the process which reads it is named as unreadable, and the rest is read.

    Args:
        items: What to read.
        classes: What mask values mean.
        workers: Processes that read; 0: this one.
    """
    if workers == 0:
        yield from (inspect(item, classes) for item in items)
        return
    done = 0
    while done < len(items):
        try:
            for inspection in _in_processes(items[done:], classes, workers, _CHUNK):
                done += 1
                yield inspection
        except _NoQueue:
            yield from (inspect(item, classes) for item in items[done:])
            return
        except BrokenProcessPool:
            # Some item of the next chunks did it: read on one by one until it is found.
            for item in items[done : done + _CHUNK * _CHUNKS_AHEAD * workers]:
                try:
                    (inspection,) = _in_processes([item], classes, 1, 1)
                except BrokenProcessPool:
                    inspection = unread(item)
                    done += 1
                    yield inspection
                    break
                done += 1
                yield inspection


class _NoQueue(Exception):  # noqa: N818 - this process reads instead
    """Queues between processes need semaphores, which lie in /dev/shm, and it is full or closed."""


def _in_processes(
    items: Sequence[Item], classes: Classes, workers: int, chunk: int
) -> Iterator[Inspection]:
    """Results in order, with a bounded number of items on their way.

    Raises:
        BrokenProcessPool: If a process was ended.
        _NoQueue: If the system gives no semaphores.
    """
    # Fork would copy the locks of whatever threads there are.
    context = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    except OSError:
        raise _NoQueue from None
    chunks = (items[start : start + chunk] for start in range(0, len(items), chunk))

    def inspect_chunk(chunk: Sequence[Item]) -> list[Inspection]:
        return pool.submit(_inspect_chunk, chunk, classes).result()

    # Twice as many threads as processes: each process finds a chunk waiting when it ends one.
    ahead = workers * _CHUNKS_AHEAD - 1
    results = prefetch(inspect_chunk, chunks, ahead, threads=2 * workers)
    try:
        with contextlib.closing(results):
            for each in results:
                yield from each
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _inspect_chunk(items: Sequence[Item], classes: Classes) -> list[Inspection]:
    return [inspect(item, classes) for item in items]


def _start_worker() -> None:
    """One thread, no end by Ctrl-C (the parent ends its workers), and no life after the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # blocked in the thread that started this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    cv2.setNumThreads(0)
    end_with_parent()
