"""Large images, one after the other, in slices between which small ones get their turn."""

import asyncio
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from segmenter.extras.serving.turns import Turns
from segmenter.inference.predictor import Predictor


class _AbandonedError(Exception):
    """Nobody waits for the result any more."""


class _Job:
    is_wanted = True


class Slices:
    """The work on large images, in a thread of its own.

    A slice is a pass of windows through the model. Before each, the other work on the model gets
    its turn, and a request that is over (its deadline has passed, or its client has left) ends the
    work on it.

    Args:
        predictor: Predictor of the service.
        turns: Who may use the model.
    """

    def __init__(self, predictor: Predictor, turns: Turns) -> None:
        self._predictor, self._turns = copy.copy(predictor), turns
        self._predictor.around_pass = self._slice
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large images")
        self._job = _Job()
        self._is_closed = False

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with the predictor and what else it takes.

        Where the caller is cancelled, the work ends at the next slice.
        """
        job = _Job()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._call, job, function, arguments)
        finally:
            job.is_wanted = False

    async def close(self) -> None:
        """Stop at the next slice."""
        self._is_closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _call(self, job: _Job, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self._job = job
        if job.is_wanted:
            return function(self._predictor, *arguments)
        raise _AbandonedError

    @contextmanager
    def _slice(self) -> Iterator[None]:
        with self._turns:
            if self._is_closed or not self._job.is_wanted:
                raise _AbandonedError
            yield
