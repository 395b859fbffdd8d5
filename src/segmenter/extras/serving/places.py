"""Places for requests: a limited number run at a time, and slow bodies do not hold them all."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from segmenter.extras.serving.refusals import RequestError

_SLOW_AFTER = 1.0
"""Seconds after which a body that has not arrived gives its place to who needs one."""


@dataclass(eq=False)
class Place:
    """The place of one request."""

    client: str
    """Address of the client."""
    begin: float = field(default_factory=time.monotonic)
    num_bytes: int = 0
    """Bytes of the body that have arrived."""
    reading: asyncio.Timeout | None = None
    """Ends the reading of the body, while it lasts."""
    is_large: bool = False
    """True: its image is large."""

    @property
    def is_slow(self) -> bool:
        """Return True while its body is still arriving."""
        return self.reading is not None and time.monotonic() - self.begin > _SLOW_AFTER

    @contextmanager
    def until_read(self, timeout: asyncio.Timeout) -> Iterator[None]:
        """Let the place be taken away while the body is read."""
        self.reading = timeout
        try:
            yield
        finally:
            self.reading = None


class Places:
    """The places of a service.

    Args:
        count: How many there are.
        observe: Called at each change with the number that are taken.
    """

    def __init__(self, count: int, observe: Callable[[int], None]) -> None:
        self._count, self._observe = count, observe
        self._taken: set[Place] = set()

    @property
    def num_taken(self) -> int:
        """Requests that wait or are worked on."""
        return len(self._taken)

    @contextmanager
    def take(self, client: str) -> Iterator[Place]:
        """Take a place; where none is free, that of the slowest body.

        Raises:
            RequestError: 429 if all are worked on.
        """
        if len(self._taken) >= self._count:
            self._take_from_slowest()
        place = Place(client)
        self._add(place)
        try:
            yield place
        finally:
            self._remove(place)

    def take_large(self, place: Place) -> None:
        """Note that the image of a request is large; half of the places are for those.

        Raises:
            RequestError: 429 if they are taken.
        """
        num_large = sum(each.is_large for each in self._taken if each is not place)
        if num_large >= max(1, self._count // 2):
            raise _full(f"{num_large} large images are being worked on")
        place.is_large = True

    def _take_from_slowest(self) -> None:
        """End the slowest body of the client that has most of them."""
        slow = [each for each in self._taken if each.is_slow]
        if not slow:
            raise _full(f"{len(self._taken)} requests are being worked on")
        bodies = Counter(each.client for each in slow)
        now = time.monotonic()
        slowest = min(
            slow, key=lambda each: (-bodies[each.client], each.num_bytes / (now - each.begin))
        )
        assert slowest.reading
        slowest.reading.reschedule(0)
        self._remove(slowest)

    def _add(self, place: Place) -> None:
        self._taken.add(place)
        self._observe(len(self._taken))

    def _remove(self, place: Place) -> None:
        if place in self._taken:
            self._taken.remove(place)
            self._observe(len(self._taken))


def _full(reason: str) -> RequestError:
    return RequestError(429, "queue-full", f"{reason}; try again later", {"retry-after": "1"})
