"""Run the checks: `python -m tests.gpu`, with options of pytest.

Shapes are not checked here, as torch.compile cannot look through the wrappers that do it; and what
torch warns of on a GPU is shown instead of ending a check.
"""

import sys

import pytest

_OPTIONS = ("-m", "gpu", "-o", "addopts=--strict-markers", "-o", "filterwarnings=default")

if __name__ == "__main__":
    sys.exit(pytest.main([*_OPTIONS, "-rs", *(sys.argv[1:])]))
