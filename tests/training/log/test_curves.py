"""The page of curves shows what the log holds, needs nothing from outside, and survives any log."""

import re
from pathlib import Path
from typing import Any

import pytest

from segmenter.training.log import curves
from segmenter.training.log.curves import write_curves
from segmenter.training.log.files import LogLine, RunLog

EVIL = "<script>alert('x')</script>"
LOSS = "<h2>Loss</h2>"
MIOU = "<h2>Validation mIoU, %</h2>"


def losses(*values: float | None) -> list[LogLine]:
    return [{"step": 10 * i, "train/loss": value} for i, value in enumerate(values, start=1)]


def draw_page(lines: list[LogLine], name: str, steps: int) -> str:
    return curves.draw_page(lines, name, steps).decode()


def paths(page: str) -> list[str]:
    return re.findall(r'<path d="M([^"]+)"', page)


def test_a_curve_runs_from_its_first_point_to_its_last() -> None:
    (path,) = paths(draw_page(losses(3.0, 2.0, 1.0), "run", 100))
    assert path == "33.33,0.00 66.67,50.00 100.00,100.00"


def test_the_best_score_is_marked_and_named_with_its_step() -> None:
    lines: list[LogLine] = [
        {"step": 10 * i, "val/miou": value} for i, value in enumerate((0.2, 0.61, 0.4), start=1)
    ]
    page = draw_page(lines, "run", 30)
    assert page.count('class="mark best"') == 1
    assert "● best, step 20: 61.00" in page
    assert re.search(r"Best validation mIoU</dt><dd><b>61.00 %</b><small>at step 20", page)


def test_each_number_of_the_log_has_its_chart(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    numbers = ("loss", "lr", "grad_norm", "images_per_second", "data_wait_share")
    log.append(5, {f"train/{name}": 0.5 for name in numbers} | {"val/miou": 0.5})
    page = write_curves(tmp_path, "run", 10).read_text()
    assert page.count("<figure>") == 6
    assert "Step 5 of 10." in page


def test_a_value_that_was_not_finite_is_a_gap_in_the_curve() -> None:
    assert len(paths(draw_page(losses(3.0, 2.0, None, 1.0), "run", 100))) == 2


def test_many_lines_are_averaged_in_groups_and_the_page_says_so() -> None:
    page = draw_page(losses(*(1.0 + i % 2 for i in range(1000))), "run", 10_000)
    assert "each point the mean of 3 lines of the log" in page
    assert len(paths(page)[0].split()) == 334
    assert len(page) < 23_000


def test_a_wide_range_above_zero_is_drawn_with_a_logarithmic_scale() -> None:
    page = draw_page(losses(1000.0, 10.0, 0.1), "run", 30)
    assert "log scale" in page
    assert paths(page) == ["33.33,0.00 66.67,50.00 100.00,100.00"]
    assert "log scale" not in draw_page(losses(3.0, 2.0), "run", 30)
    assert "log scale" not in draw_page(losses(1000.0, 0.0), "run", 30)


@pytest.mark.parametrize(
    "values", [(1.0,), (2.0, 2.0), (0.0, 0.0), (-1.0, 1.0), (1e-30, 1e30), (1.0, 1.0 + 1e-12)]
)
def test_points_and_ticks_stay_inside_the_chart(values: tuple[float, ...]) -> None:
    page = draw_page(losses(*values), "run", 30)
    places = [float(number) for path in paths(page) for number in re.split("[ ,]", path)]
    places += [float(place) for place in re.findall(r"(?:bottom|left):([-\d.]+)%", page)]
    assert len(places) > 2 * len(values), "two numbers a point, and the ticks"
    assert all(0 <= place <= 100 for place in places)


@pytest.mark.parametrize("lines", [[], losses(None), [{"step": 3}]])
def test_a_log_without_a_number_is_a_page_that_says_so(lines: list[Any]) -> None:
    assert "Nothing is logged yet." in draw_page(lines, "run", 10)


def test_the_name_is_escaped_and_nothing_comes_from_outside() -> None:
    page = draw_page(losses(1.0), EVIL, 10)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|src=", page)


def test_the_points_of_a_short_run_are_marked_at_whole_steps() -> None:
    page = draw_page([{"step": 1, "train/loss": 3.0}, {"step": 2, "train/loss": 2.0}], "run", 2)
    assert page.count('<i class="mark"') == 2
    assert re.findall(r'<span class="step"[^>]*>([^<]*)<', page) == ["0", "1", "2"]
    assert draw_page(losses(*map(float, range(1, 99))), "run", 1000).count('<i class="mark"') == 0
