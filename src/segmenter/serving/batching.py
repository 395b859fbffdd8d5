"""Photos of one size that wait at the same time go through the model together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from segmenter.serving.settings import ServiceSettings

Work = Callable[[Sequence[ndarray]], Sequence[Any]]
"""From photos of one size to one result each."""


@dataclass(frozen=True)
class _Waiting:
    image: ndarray
    result: asyncio.Future[Any]


class Batcher:
    """One line of photos before one model.

    Args:
        work: What is done with a batch, in a thread of its own.
        settings: How many photos a batch may have, and how long a photo waits for others.
        observe: Told the size of each batch.
    """

    def __init__(
        self, work: Work, settings: ServiceSettings, observe: Callable[[int], None]
    ) -> None:
        self._work, self._settings, self._observe = work, settings, observe
        self._line: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, image: ndarray) -> Any:
        """Wait for the result of one photo; a caller that is cancelled leaves the line."""
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        waiting = _Waiting(image, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        self._arrived.set()
        return await waiting.result

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Do something else with the model, between two batches."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    async def close(self) -> None:
        """Stop after the batch that is being worked on."""
        if self._runner:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = await self._gather()
            if not batch:
                continue
            self._observe(len(batch))
            images = [each.image for each in batch]
            try:
                results = await loop.run_in_executor(self._thread, self._work, images)
            except Exception as error:
                for each in batch:
                    if not each.result.done():
                        each.result.set_exception(error)
            else:
                for each, result in zip(batch, results, strict=True):
                    if not each.result.done():
                        each.result.set_result(result)

    async def _gather(self) -> list[_Waiting]:
        """Take the first photo of the line and those of its size, after a short wait for more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.max_batch_wait
        while True:
            self._line = deque(each for each in self._line if not each.result.done())
            if not self._line:
                self._arrived.clear()
                return []
            shape = self._line[0].image.shape
            alike = [each for each in self._line if each.image.shape == shape]
            left = until - loop.time()
            if len(alike) >= self._settings.max_batch or left <= 0:
                batch = alike[: self._settings.max_batch]
                taken = {id(each) for each in batch}
                self._line = deque(each for each in self._line if id(each) not in taken)
                return batch
            await asyncio.sleep(left)
