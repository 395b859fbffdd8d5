"""What the fuzzers share: command line, clock, and processes that may die of what they try."""

import argparse
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings

KEPT = Path("build/fuzz")
"""Where findings stay."""


def fuzz_settings(max_examples: int) -> settings:
    """Hypothesis' settings: no shrinking, no database, no deadline."""
    return settings(
        max_examples=max_examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def asked(doc: str | None, seconds: float, arguments: list[str] | None = None) -> tuple[float, int]:
    """Read the command line: for how many seconds to try, and the first seed."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    return given.seconds, given.seed


def try_until(until: float, number: int, attempt: Callable[[], None]) -> None:
    """Try one seed after the other until the time is over."""
    while time.time() < until:
        seed(number)(attempt)()
        number += 1


def fuzz_in_processes(
    attempts: Callable[[int, float, Synchronized, Synchronized, Path], None],
    seconds: float,
    number: int,
    current: Path,
) -> tuple[int, int, int]:
    """Run attempts in a process, and in another where it died; what it died of is kept.

    Args:
        attempts: Takes the first seed, the time to end at, two counters, and `current`.
        seconds: For how long.
        number: The first seed.
        current: A folder for what is being tried.

    Returns:
        How many were tried, how many were answered, and how many ended a process.
    """
    until = time.time() + seconds
    context = multiprocessing.get_context("spawn")
    tried, answered, findings = context.Value("q", 0), context.Value("q", 0), 0
    while time.time() < until:
        shutil.rmtree(current, ignore_errors=True)
        current.mkdir(parents=True)
        arguments = (number, until, tried, answered, current)
        process = context.Process(target=attempts, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            findings += 1
            kept = current.rename(KEPT / f"{time.time_ns()}-exit-{process.exitcode}")
            print(f"found: {kept}", file=sys.stderr)
        number += 1_000_000
    shutil.rmtree(current, ignore_errors=True)
    return tried.value, answered.value, findings
