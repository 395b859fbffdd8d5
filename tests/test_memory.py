"""What a process says of its own memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.skips import NOT_HERE

_SAY = "from segmenter.memory import peak_memory; print(peak_memory())"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason=f"{NOT_HERE}: /proc")
def test_the_peak_of_a_process_does_not_begin_with_that_of_its_parent() -> None:
    held = np.ones(400 << 20, np.uint8)  # written, so that it is resident
    said = subprocess.run([sys.executable, "-c", _SAY], check=True, stdout=subprocess.PIPE)
    assert (10 << 20) < int(said.stdout) < held.nbytes
