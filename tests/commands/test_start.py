"""How long users wait before anything happens, in CPU seconds of all cores together.

On a machine that does nothing else the wall clock shows no more than these. A busy one can only
add to them, so the least of several runs is what the program takes.
"""

import os
import resource
import subprocess
import sys
from statistics import median

import pytest
import torch

from segmenter.runtimes.devices import has_bfloat16

FIRST_LABEL = """
import numpy as np
from segmenter import Predictor
Predictor("street")(np.zeros((360, 480, 3), np.uint8))
"""
OPEN = """
import time
import torch
start = time.process_time()
from segmenter import Predictor
Predictor("street")
print(time.process_time() - start)
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


@pytest.fixture(scope="module")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the graph of `street` is, as environment."""
    folder = tmp_path_factory.mktemp("cache")
    cpu_seconds(["-c", FIRST_LABEL], XDG_CACHE_HOME=str(folder))
    assert list((folder / "segmenter").iterdir())
    return {"XDG_CACHE_HOME": str(folder)}


@pytest.mark.slow
def test_help_takes_less_than_0_4_seconds() -> None:
    assert median(cpu_seconds(["-m", "segmenter", "--help"]) for _ in range(5)) < 0.4


@pytest.mark.slow
def test_a_model_in_the_cache_is_opened_in_2_seconds_once_torch_is_imported(
    warm_cache: dict[str, str],
) -> None:
    command = [sys.executable, "-c", OPEN]
    environment = os.environ | warm_cache
    said = [subprocess.check_output(command, env=environment) for _ in range(5)]
    seconds = min(float(each) for each in said)
    print(f"opened in {seconds:.1f} s")
    assert seconds < 2


@pytest.mark.slow
@pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="needs bfloat16: else the label takes seconds"
)
def test_the_first_label_of_a_warm_cache_takes_less_than_6_seconds(
    warm_cache: dict[str, str],
) -> None:
    assert min(cpu_seconds(["-c", FIRST_LABEL], **warm_cache) for _ in range(3)) < 6
