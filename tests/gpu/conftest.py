"""The device of all checks, or the reason to skip them."""

import os
from pathlib import Path

import pytest
import torch

from tests.helpers.data_sets import write_data_set
from tests.helpers.gpu import REHEARSAL, gpu
from tests.helpers.skips import NOT_HERE

# cuBLAS reads this when a GPU is first used, and one check needs it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def device() -> torch.device:
    """The GPU, or the CPU in a rehearsal; the check is skipped where there is neither."""
    found = gpu()
    if found is None:
        pytest.skip(f"{NOT_HERE}: a CUDA device ({REHEARSAL}=1 rehearses on the CPU)")
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A three-class data set with eight images in each of train and val."""
    return write_data_set(tmp_path / "data", num_images=8)
