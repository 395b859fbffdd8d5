"""A service on a port of its own, with a tiny model, for tests that speak HTTP."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.helpers.services import Start, serving


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a service, as `serving` does."""
    with ExitStack() as running:
        yield lambda *predictor, **settings: running.enter_context(serving(*predictor, **settings))
