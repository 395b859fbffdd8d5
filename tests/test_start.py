"""How long users wait before anything happens, in CPU seconds of all cores together.

On a machine that does nothing else the wall clock shows no more than these, and on a busy one they
hardly change.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

FIRST_LABEL = """
import numpy as np
from segmenter import Predictor
Predictor("street")(np.zeros((360, 480, 3), np.uint8))
"""


def cpu_seconds(arguments: list[str], **environment: str) -> float:
    """User and system time of one Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_less_than_0_4_seconds() -> None:
    assert median(cpu_seconds(["-m", "segmenter", "--help"]) for _ in range(5)) < 0.4


@pytest.mark.slow
def test_the_first_label_of_a_warm_cache_takes_less_than_4_seconds(tmp_path: Path) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    cpu_seconds(["-c", FIRST_LABEL], **cache)
    assert list((tmp_path / "segmenter").iterdir())
    assert min(cpu_seconds(["-c", FIRST_LABEL], **cache) for _ in range(3)) < 4
