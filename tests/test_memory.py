"""What a process says of its own memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segmenter.memory import peak_memory
from tests.helpers.skips import NOT_HERE

_SAY = "from segmenter.memory import peak_memory; print(peak_memory())"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason=f"{NOT_HERE}: /proc")
def test_the_peak_of_a_process_does_not_begin_with_that_of_its_parent() -> None:
    held = np.ones(400 << 20, np.uint8)  # written, so that it is resident
    said = subprocess.run([sys.executable, "-c", _SAY], check=True, stdout=subprocess.PIPE)
    assert int(said.stdout) < held.nbytes


def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_memory()
    if before is None:
        pytest.skip(f"{NOT_HERE}: a count of memory, on {os.name}")
    held = np.ones(before + (64 << 20), np.uint8)
    assert (peak_memory() or 0) >= held.nbytes
