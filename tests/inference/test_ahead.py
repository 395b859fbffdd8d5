"""Stages overlap without losing an item, an error, or the order."""

import threading
import time
from collections.abc import Generator

import pytest

from segmenter.inference.ahead import ahead


def counting(made: list[int], count: int = 100) -> Generator[int, None, None]:
    try:
        for number in range(count):
            made.append(number)
            yield number
    finally:
        made.append(-1)


def test_items_come_in_order_from_another_thread() -> None:
    def names() -> Generator[str, None, None]:
        yield threading.current_thread().name

    assert list(ahead(counting([]), 3)) == list(range(100))
    assert list(ahead(names(), 1)) != [threading.current_thread().name]


def test_only_so_many_items_wait() -> None:
    made: list[int] = []
    items = ahead(counting(made), 3)
    next(items)
    time.sleep(0.3)
    assert made == [0, 1, 2, 3, 4]  # one taken, three wait, one in hand


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise ValueError("then")

    items = ahead(failing(), 5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="then"):
        next(items)


def test_a_generator_is_closed_when_the_taker_leaves() -> None:
    made: list[int] = []
    items = ahead(counting(made), 2)
    next(items)
    items.close()
    assert made[-1] == -1
    assert len(made) < 10


def test_a_generator_that_hangs_is_left_once_stopped() -> None:
    released = threading.Event()

    def hanging() -> Generator[int, None, None]:
        yield 1
        released.wait(20)

    start = time.monotonic()
    assert list(ahead(hanging(), 1, stopped=lambda: True)) == [1]
    assert time.monotonic() - start < 10
    released.set()
