"""Where the files are that tests read."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
"""Outputs of the published code bases."""
SHARED = REPOSITORY / "../shared"
"""Real data and weights, on machines that have them."""
