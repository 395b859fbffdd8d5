"""A short soak: honest clients are answered beside hostile ones, and memory comes back."""

import pytest

from tests import soak_service


@pytest.mark.slow
def test_honest_requests_are_answered_beside_hostile_ones() -> None:
    assert soak_service.main(["--seconds", "25", "--stops", "1"]) == 0
