"""The time that is left of a run."""

from pathlib import Path

import pytest

from segmenter.training.log.time_left import TimeLeft
from tests.helpers.runs import make_recipe


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(root: Path, *, start: int = 0, **changes: object) -> tuple[TimeLeft, Clock]:
    schedule = {"schedule": {"steps": 100}, "evaluate_every": 40}
    clock = Clock()
    return TimeLeft(make_recipe(root, **schedule | changes), start=start, clock=clock), clock


def take(left: TimeLeft, clock: Clock, steps: range, seconds: float) -> None:
    for step in steps:
        clock.now += seconds
        left.step(step)


def test_nothing_is_said_before_two_steps(tmp_path: Path) -> None:
    left, clock = watch(tmp_path)
    assert left.describe() == ""
    take(left, clock, range(1, 2), 60.0)
    assert (left.seconds, left.describe()) == (None, "")


def test_a_slow_first_step_does_not_count(tmp_path: Path) -> None:
    left, clock = watch(tmp_path)
    take(left, clock, range(1, 2), 60.0)
    take(left, clock, range(2, 11), 2.0)
    assert left.seconds_per_step == pytest.approx(2.0)
    assert left.seconds == pytest.approx(180.0)
    assert left.describe() == "about 3 min and 3 evaluations left"


def test_evaluations_count_once_one_was_timed_and_are_no_part_of_a_step(tmp_path: Path) -> None:
    left, clock = watch(tmp_path)
    take(left, clock, range(1, 41), 2.0)
    clock.now += 30.0
    left.evaluated()
    take(left, clock, range(41, 51), 2.0)
    assert left.seconds_per_step == pytest.approx(2.0)
    assert left.seconds == pytest.approx(50 * 2.0 + 2 * 30.0)
    assert left.describe() == "about 3 min left"


def test_a_resumed_run_counts_from_where_it_resumes(tmp_path: Path) -> None:
    left, clock = watch(tmp_path, start=80)
    take(left, clock, range(81, 91), 1.0)
    assert left.num_steps == 10
    assert left.describe() == "about 10 s and 1 evaluation left"


def test_a_run_without_a_split_to_evaluate_waits_for_none(tmp_path: Path) -> None:
    left, clock = watch(tmp_path, data={"val": None})
    take(left, clock, range(1, 11), 1.0)
    assert left.describe() == "about 2 min left"


def test_the_pace_follows_the_last_steps(tmp_path: Path) -> None:
    left, clock = watch(tmp_path, schedule={"steps": 1000}, data={"val": None})
    take(left, clock, range(1, 301), 1.0)
    take(left, clock, range(301, 501), 3.0)
    assert left.seconds_per_step == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("step", "num_left"), [(1, 3), (39, 3), (40, 3), (41, 2), (79, 2), (80, 2), (99, 1), (100, 1)]
)
def test_evaluations_that_are_left_end_with_the_last_step(
    tmp_path: Path, step: int, num_left: int
) -> None:
    left, _ = watch(tmp_path)
    left.step(step)
    assert left.num_evaluations == num_left


@pytest.mark.parametrize(("step", "num_left"), [(40, 2), (80, 1), (100, 0)])
def test_the_evaluation_of_a_step_is_left_until_it_is_done(
    tmp_path: Path, step: int, num_left: int
) -> None:
    left, _ = watch(tmp_path)
    left.step(step)
    left.evaluated()
    assert left.num_evaluations == num_left
    left.step(step)  # skipped: its loss was not finite
    assert left.num_evaluations == num_left
