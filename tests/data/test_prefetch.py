"""Reading ahead loses no item, no error and no order, and holds a bounded number of results."""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing

import pytest

from segmenter.data.prefetch import prefetch
from tests.helpers.waiting import wait_until, work_for


def itself(item: int) -> int:
    return item


def counting(made: list[int], count: int = 100) -> Generator[int, None, None]:
    try:
        for number in range(count):
            made.append(number)
            yield number
    finally:
        made.append(-1)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("size", [0, 1, 5])
def test_results_come_in_order_whichever_is_ready_first(threads: int, size: int) -> None:
    rests = [0.02, 0.0, 0.01, 0.0, 0.03, 0.0] * 4

    def rest(number: int) -> int:
        work_for(rests[number])
        return number

    assert list(prefetch(rest, range(24), size, threads=threads)) == list(range(24))


def test_items_are_taken_and_results_made_in_another_thread() -> None:
    def names() -> Iterator[str]:
        yield threading.current_thread().name

    (found,) = prefetch(lambda name: (name, threading.current_thread().name), names(), 1)
    assert threading.current_thread().name not in found


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [0, 3])
def test_only_so_many_results_wait(threads: int, size: int) -> None:
    made: list[int] = []
    ready = threading.Semaphore(0)

    def make(number: int) -> int:
        made.append(number)
        ready.release()
        return number

    with closing(prefetch(make, iter(range(100)), size, threads=threads)) as results:
        for taken in range(1, 10):
            next(results)
            for _ in range(size + 1 if taken == 1 else 1):
                assert ready.acquire(timeout=60)
            assert sorted(made) == list(range(taken + size))
    assert len(made) <= 9 + size


def test_the_bound_may_change_as_results_come() -> None:
    made: list[int] = []
    room = 0
    with closing(prefetch(made.append, range(100), lambda: room)) as results:
        next(results)
        next(results)
        assert made == [0, 1]
        room = 5
        next(results)
        wait_until(lambda: len(made) == 8)
        assert made == list(range(8))


def test_an_error_comes_after_the_results_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("then")

    results = prefetch(itself, failing(), 5)
    assert next(results) == 1
    with pytest.raises(ValueError, match="then"):
        next(results)

    def invert(number: int) -> float:
        return 1 / number

    results = prefetch(invert, [1, 2, 0, 4], 5, threads=2)
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_generator_is_closed_when_the_caller_leaves() -> None:
    made: list[int] = []
    results = prefetch(itself, counting(made), 2, threads=2)
    next(results)
    results.close()
    assert made[-1] == -1
    assert len(made) <= 4


def test_threads_end_with_the_last_result() -> None:
    before = threading.active_count()
    assert list(prefetch(itself, range(3), 2, threads=3)) == [0, 1, 2]
    assert threading.active_count() == before


def test_a_generator_that_hangs_is_left_once_stopped() -> None:
    released, went_on = threading.Event(), threading.Event()

    def hanging() -> Iterator[int]:
        yield 1
        released.wait(60)
        went_on.set()

    assert list(prefetch(itself, hanging(), 1, stopped=lambda: True)) == [1]
    assert not went_on.is_set()
    released.set()
