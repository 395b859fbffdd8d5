"""Estimate the time that a run still takes, from its last steps and its last evaluation."""

import time
from collections import deque
from collections.abc import Callable

from segmenter.recipe import Recipe
from segmenter.text import duration

FIRST_STEPS = 10
"""Steps after which the run says how long it will take."""
_MAX_STEPS = 200
"""Steps that the pace is measured over; saving a checkpoint counts as part of a step."""


class TimeLeft:
    """Estimate the seconds that are left of a run.

    Args:
        recipe: The run.
        start: Steps done before this process began.
        clock: Gives seconds.
    """

    def __init__(
        self, recipe: Recipe, *, start: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._recipe, self._start, self._clock = recipe, start, clock
        self._step = start
        self._is_due = False
        """True while the evaluation of the last step is still to come."""
        self._ends: deque[float] = deque(maxlen=_MAX_STEPS)
        """Times at which the last steps ended, without the time of evaluations."""
        self._resumed = clock()
        self._evaluating = 0.0
        self._last_evaluation: float | None = None

    def step(self, step: int) -> None:
        """Count a step, `step` being the number done."""
        if step != self._step:  # a step that is skipped is evaluated no second time
            steps, every = self._recipe.schedule.steps, self._recipe.evaluate_every
            self._is_due = step % every == 0 or step >= steps
        self._step = step
        self._resumed = self._clock()
        self._ends.append(self._resumed - self._evaluating)

    def evaluated(self) -> None:
        """Count an evaluation that began when the last step ended."""
        self._is_due = False
        self._last_evaluation = self._clock() - self._resumed
        self._evaluating += self._last_evaluation

    @property
    def num_steps(self) -> int:
        """Steps done by this process."""
        return self._step - self._start

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the last steps, without the first one of this process; None before two."""
        if len(self._ends) < 2:
            return None
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)

    @property
    def num_evaluations(self) -> int:
        """Evaluations that are still to come, with that of the last step until it is done."""
        recipe, steps = self._recipe, self._recipe.schedule.steps
        if recipe.data.val is None:
            return 0
        if self._step >= steps:
            return int(self._is_due)
        every = recipe.evaluate_every
        return (steps - 1) // every - self._step // every + 1 + self._is_due

    @property
    def seconds(self) -> float | None:
        """Seconds that are left; evaluations count once one was timed. None before two steps."""
        pace = self.seconds_per_step
        if pace is None:
            return None
        steps = self._recipe.schedule.steps - self._step
        return steps * pace + self.num_evaluations * (self._last_evaluation or 0.0)

    def describe(self) -> str:
        """Return the time that is left, such as `about 12 min left`; empty before two steps."""
        seconds = self.seconds
        if seconds is None:
            return ""
        untimed = self.num_evaluations if self._last_evaluation is None else 0
        evaluations = f" and {untimed} evaluation{'s' * (untimed != 1)}" if untimed else ""
        return f"about {duration(seconds)}{evaluations} left"
