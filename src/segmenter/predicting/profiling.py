"""Measure the use of the CPUs, by stage."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

Stage = Literal["decode", "draw", "write"]
"""Stages with threads of their own, beside model and labels: read an image; draw the pictures;
encode them and write them to the disk."""


class Usage(NamedTuple):
    """CPU time of a run, by stage."""

    seconds: float
    """Time since it began."""
    num_busy: float
    """CPUs that were busy, on average."""
    shares: dict[str, float]
    """Share of each stage in the CPU time: decode, model, labels, draw, write; together 1."""


class StageClock:
    """Adds up CPU time by stage, in seconds.

    The clock of its thread measures a stage that has one. Model and labels run in many threads of
    libraries: they share the rest of the process' time, in proportion to how long each ran.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._process_start = time.process_time()
        self._lock = threading.Lock()
        self._cpu = dict.fromkeys(get_args(Stage), 0.0)
        self._elapsed = {"model": 0.0, "labels": 0.0}

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Count the CPU time of the block in this thread."""
        start = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._cpu[stage] += time.thread_time() - start

    def add_labelling(self, seconds: float, in_model: float) -> None:
        """Count the seconds from pixels to labels of an image, and those of the model."""
        self._elapsed["model"] += in_model
        self._elapsed["labels"] += seconds - in_model

    def usage(self) -> Usage:
        """Return what was used until now."""
        seconds = time.perf_counter() - self._start
        total = time.process_time() - self._process_start
        rest = max(total - sum(self._cpu.values()), 0.0)
        elapsed = max(sum(self._elapsed.values()), 1e-9)
        spent = {
            "decode": self._cpu["decode"],
            "model": rest * self._elapsed["model"] / elapsed,
            "labels": rest * self._elapsed["labels"] / elapsed,
            "draw": self._cpu["draw"],
            "write": self._cpu["write"],
        }
        whole = max(sum(spent.values()), 1e-9)
        shares = {stage: each / whole for stage, each in spent.items()}
        return Usage(seconds, total / max(seconds, 1e-9), shares)


def num_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
