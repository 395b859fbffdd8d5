"""Images of one size that wait at the same time go through the model together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.extras.serving.slices import Slices
from segmenter.extras.serving.turns import Turns
from segmenter.extras.serving.workload import count_pixels
from segmenter.inference.predictor import Predictor


@dataclass(frozen=True)
class _Waiting:
    image: ndarray
    result: asyncio.Future[Any]
    function: Callable[..., Any] | None = None
    """Work to do on the image alone. None: it is labelled in a batch."""
    arguments: tuple[Any, ...] = ()

    def goes_with(self, other: "_Waiting") -> bool:
        """Return True if both may be in one batch."""
        alone = self.function or other.function
        return self is other or (not alone and self.image.shape == other.image.shape)


class Batcher:
    """One line of images before one model; large ones have a line of their own.

    Args:
        predictor: The model.
        settings: How many images a batch may have, how long an image waits for others, and from
            where on one is large.
        observe: Called with the size of each batch.
    """

    def __init__(
        self, predictor: Predictor, settings: ServiceSettings, observe: Callable[[int], None]
    ) -> None:
        self._predictor, self._settings, self._observe = predictor, settings, observe
        self._line: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._turns = Turns()
        self._slices = Slices(predictor, self._turns)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._runner: asyncio.Task[None] | None = None

    async def label(self, images: Sequence[ndarray]) -> list[ndarray]:
        """Wait for the labels of images of one request; a caller that is cancelled leaves."""
        if self.is_large(images):
            self._observe(len(images))
            return await self._slices.run(lambda predictor: predictor(list(images)))
        return await asyncio.gather(*(self._wait(image, None, ()) for image in images))

    async def run_in_slices(self, function: Callable[..., Any], image: ndarray) -> Any:
        """Do something else with the predictor and an image, window by window."""
        if self.is_large([image]):
            return await self._slices.run(function, image)
        return await self._wait(image, function, ())

    async def run(self, function: Callable[..., Any], image: ndarray, *arguments: Any) -> Any:
        """Do something else with the predictor and an image, in one pass."""
        return await self._wait(image, function, arguments)

    def is_large(self, images: Sequence[ndarray]) -> bool:
        """Return True if images of one request are computed in slices."""
        return sum(map(self._count_pixels, images)) > self._settings.large_pixels

    def _count_pixels(self, image: ndarray) -> int:
        return count_pixels(image.shape, self._predictor)

    async def close(self) -> None:
        """Stop after the batch that is being worked on."""
        if self._runner:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await self._slices.close()
        await asyncio.to_thread(self._thread.shutdown)

    async def _wait(
        self, image: ndarray, function: Callable[..., Any] | None, arguments: tuple[Any, ...]
    ) -> Any:
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        result = asyncio.get_running_loop().create_future()
        self._line.append(_Waiting(image, result, function, arguments))
        self._arrived.set()
        return await result

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = await self._gather()
            if not batch:
                continue
            try:
                results = await loop.run_in_executor(self._thread, self._work, batch)
            except Exception as error:
                for each in batch:
                    if not each.result.done():
                        each.result.set_exception(error)
            else:
                for each, result in zip(batch, results, strict=True):
                    if not each.result.done():
                        each.result.set_result(result)
                del results
            del batch  # else it is kept until the next comes

    def _work(self, batch: list[_Waiting]) -> list[Any]:
        first = batch[0]
        with self._turns:
            if first.function:
                return [first.function(self._predictor, first.image, *first.arguments)]
            self._observe(len(batch))
            return list(self._predictor([each.image for each in batch]))

    async def _gather(self) -> list[_Waiting]:
        """Take the first image of the line and those of its size, after a short wait for more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.max_batch_wait
        while True:
            self._line = deque(each for each in self._line if not each.result.done())
            if not self._line:
                self._arrived.clear()
                return []
            first = self._line[0]
            alike = [each for each in self._line if each.goes_with(first)]
            most = self._most_alike(first)
            left = until - loop.time()
            if len(alike) >= most or left <= 0:
                batch = alike[:most]
                taken = {id(each) for each in batch}
                self._line = deque(each for each in self._line if id(each) not in taken)
                return batch
            await asyncio.sleep(left)

    def _most_alike(self, first: _Waiting) -> int:
        """Return the largest batch of images of this size: as many pixels as two large images."""
        if first.function:
            return 1
        fitting = 2 * self._settings.large_pixels // max(1, self._count_pixels(first.image))
        return max(1, min(self._settings.max_batch, fitting))
