"""How long work takes is said after the first of it."""

import io
import sys

import pytest

from segmenter.commands.streams import guarded_streams
from segmenter.terminal import Countdown, progress_bar, timed_progress


def count(seconds: list[float], total: int, *, repeats: bool = True, hint: str = "") -> list[str]:
    """What is said while pieces take so many seconds each."""
    now, said = 0.0, []
    countdown = Countdown(
        "evaluating", total, said.append, repeats=repeats, hint=hint, clock=lambda: now
    )
    for each in seconds:
        now += each
        countdown()
    return said


def test_the_first_pieces_say_how_long_the_others_take() -> None:
    assert count([9.0, 2.0], 100) == ["evaluating: about 3 min"]


def test_where_a_piece_takes_an_instant_five_are_counted() -> None:
    assert count([0.1] * 4, 1000) == []
    assert count([0.1] * 5, 1000) == ["evaluating: about 2 min"]


def test_what_ends_within_seconds_is_not_announced() -> None:
    assert count([0.1] * 50, 50) == []


def test_where_there_is_no_bar_it_is_said_again_each_minute() -> None:
    assert count([1.0] * 100, 200) == [
        "evaluating: about 3 min",
        "63 of 200 done, about 2 min left",
    ]
    assert count([1.0] * 100, 200, repeats=False) == ["evaluating: about 3 min"]


def test_a_hint_is_for_work_of_minutes() -> None:
    assert count([1.0] * 5, 200, hint="look") == ["evaluating: about 3 min; look"]
    assert count([1.0] * 5, 30, hint="look") == ["evaluating: about 27 s"]


def test_without_a_terminal_short_work_prints_nothing(capsys: pytest.CaptureFixture) -> None:
    with timed_progress("evaluating 3 images", 3) as advance:
        for _ in range(3):
            advance()
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_codes_that_move_a_bar_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with guarded_streams(), progress_bar("evaluating", 3) as advance:
        advance()
    assert "\x1b[2K" in shown.getvalue()
    assert "\\x1b" not in shown.getvalue()
