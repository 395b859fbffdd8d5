"""One page with the curves of a run, drawn from its log: `curves.html`, which needs no network."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from segmenter.files.outputs import write_atomically
from segmenter.pages import render_page
from segmenter.pages.axes import round_steps
from segmenter.training.log.files import LogLine, read_log

PAGE_NAME = "curves.html"

_MAX_POINTS = 400  # of one curve; more are averaged in groups, as a screen shows no more
_LOG_SCALE_RATIO = 20  # a curve that spans more than this is drawn with a logarithmic scale
_NUM_TICKS = 4
_MAX_MARKED = 10
"""Points of a short run, which would hardly be seen as a line."""


class _Curve(NamedTuple):
    """Layout of one curve, before its values are known."""

    number: str
    title: str
    write: Callable[[float], str]
    may_be_logarithmic: bool = False
    starts_at_zero: bool = False
    is_score: bool = False
    """Each point is marked, and the best one named."""


def _plain(value: float) -> str:
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.1e}"


_CURVES = (
    _Curve("val/miou", "Validation mIoU, %", lambda v: f"{100 * v:.2f}", is_score=True),
    _Curve("train/loss", "Loss", _plain, may_be_logarithmic=True),
    _Curve("train/lr", "Learning rate", _plain, starts_at_zero=True),
    _Curve("train/grad_norm", "Gradient norm, before clipping", _plain, may_be_logarithmic=True),
    _Curve("train/images_per_second", "Images per second", _plain, starts_at_zero=True),
    _Curve(
        "train/data_wait_share",
        "Time waited for data, %",
        lambda v: _plain(100 * v),
        starts_at_zero=True,
    ),
)


class _Tick(NamedTuple):
    place: float
    """Place in per cent of the axis, from the left or from the bottom."""
    text: str


class _Mark(NamedTuple):
    left: float
    bottom: float
    text: str
    is_best: bool


class _Chart(NamedTuple):
    """A curve as it is drawn, in a box of 100 x 100 whose origin is at the lower left."""

    title: str
    note: str
    paths: list[str]
    """SVG path data, one for each stretch without a gap; y counts downwards there."""
    marks: list[_Mark]
    rows: list[_Tick]
    columns: list[_Tick]


def write_curves(folder: Path, name: str, steps: int) -> Path:
    """Draw the log in a run's folder into `curves.html` beside it; returns the page's path.

    Args:
        folder: Folder of the run, with `log.jsonl`.
        name: Name of the run.
        steps: Number of steps of the whole run.

    Raises:
        OSError, UserError: If the log cannot be read or the page not be written.
    """
    path = folder / PAGE_NAME
    write_atomically(path, draw_page(read_log(folder / "log.jsonl"), name, steps))
    return path


def draw_page(lines: Sequence[LogLine], name: str, steps: int) -> bytes:
    """Return the page's HTML; `lines`, `name` and `steps` as in `write_curves`."""
    done = max((int(line["step"] or 0) for line in lines), default=0)
    charts = [
        _chart(curve, points, done) for curve in _CURVES if (points := _points(lines, curve.number))
    ]
    return render_page(
        "segmenter.training.log",
        "curves.html.jinja",
        name=name,
        steps=steps,
        done=done,
        charts=charts,
        tiles=_tiles(lines),
    )


def _points(lines: Sequence[LogLine], number: str) -> list[tuple[int, float | None]]:
    """Step and value, without those that are not finite; empty if none is."""
    points = [(int(line["step"] or 0), line[number]) for line in lines if number in line]
    return points if any(value is not None for _, value in points) else []


def _tiles(lines: Sequence[LogLine]) -> list[tuple[str, str, str]]:
    """Label, value and note of the numbers that stand above the charts."""
    tiles = []
    scored = [(step, v) for step, v in _points(lines, "val/miou") if v is not None]
    if scored:
        step, best = max(scored, key=lambda point: point[1])
        tiles.append(("Best validation mIoU", f"{100 * best:.2f} %", f"at step {step:,}"))
        step, last = scored[-1]
        tiles.append(("Last validation mIoU", f"{100 * last:.2f} %", f"at step {step:,}"))
    losses = [(step, v) for step, v in _points(lines, "train/loss") if v is not None]
    if losses:
        tiles.append(("Last loss", _plain(losses[-1][1]), f"at step {losses[-1][0]:,}"))
    speeds = [v for _, v in _points(lines, "train/images_per_second") if v is not None]
    if speeds:
        tiles.append(("Images per second", _plain(median(speeds)), "median over the log"))
    return tiles


def _chart(curve: _Curve, points: Sequence[tuple[int, float | None]], last_step: int) -> _Chart:
    group = 1 if curve.is_score else math.ceil(len(points) / _MAX_POINTS)
    points = [_mean(points[i : i + group]) for i in range(0, len(points), group)]
    values = [value for _, value in points if value is not None]
    low, high = min(values), max(values)
    is_logarithmic = curve.may_be_logarithmic and low > 0 and high / low > _LOG_SCALE_RATIO
    if curve.starts_at_zero:
        low = min(low, 0.0)
    ticks = _powers(low, high) if is_logarithmic else round_steps(low, high)
    scale = math.log10 if is_logarithmic else float
    bottom, top = scale(min(low, ticks[0])), scale(max(high, ticks[-1]))

    def place(value: float) -> float:
        return 100 * (scale(value) - bottom) / ((top - bottom) or 1)

    def across(step: int) -> float:
        return 100 * step / max(last_step, 1)

    marks = []
    if curve.is_score or len(points) <= _MAX_MARKED:
        best = (
            next(step for step, value in points if value == max(values)) if curve.is_score else -1
        )
        marks = [
            _Mark(across(step), place(v), f"step {step:,}: {curve.write(v)}", step == best)
            for step, v in points
            if v is not None
        ]
    notes = ["log scale"] if is_logarithmic else []
    notes += [f"each point the mean of {group} lines of the log"] if group > 1 else []
    return _Chart(
        title=curve.title,
        note=", ".join(notes),
        paths=_paths([(across(step), None if v is None else place(v)) for step, v in points]),
        marks=marks,
        rows=list(map(_Tick, map(place, ticks), _aligned([curve.write(value) for value in ticks]))),
        columns=[
            _Tick(across(round(step)), f"{round(step):,}")
            for step in round_steps(0.0, float(last_step))
            if step <= last_step and abs(step - round(step)) < 1e-6  # no part of a step
        ],
    )


def _aligned(numbers: Sequence[str]) -> Sequence[str]:
    """Write the numbers along an axis with the same count of decimals."""
    if any("e" in number for number in numbers):
        return numbers
    digits = max(len(number.partition(".")[2]) for number in numbers)
    return [f"{float(number):.{digits}f}" for number in numbers]


def _mean(points: Sequence[tuple[int, float | None]]) -> tuple[int, float | None]:
    """Return the last step, and the mean of what is finite."""
    values = [value for _, value in points if value is not None]
    return points[-1][0], sum(values) / len(values) if values else None


def _paths(points: Sequence[tuple[float, float | None]]) -> list[str]:
    """Return one path for each stretch of points without a gap."""
    stretches: list[list[str]] = [[]]
    for left, bottom in points:
        if bottom is None:
            stretches.append([])
        else:
            stretches[-1].append(f"{left:.2f},{100 - bottom:.2f}")
    # A point alone is drawn as a line to itself, whose round ends are seen.
    return ["M" + " ".join(s * 2 if len(s) == 1 else s) for s in stretches if s]


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that enclose a range above 0; powers alone if it is wide."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(exponents) > _NUM_TICKS else (1, 2, 5)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    below, above = [t for t in ticks if t <= low], [t for t in ticks if t >= high]
    return [tick for tick in ticks if below[-1] <= tick <= above[0]]
