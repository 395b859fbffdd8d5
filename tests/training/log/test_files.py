"""The log's two files say the same, hold no step twice, and stay readable after a crash."""

import csv
import json
from pathlib import Path

import pytest

from segmenter.training.log.files import NUMBERS, RunLog, read_log


def filled(folder: Path, steps: range) -> RunLog:
    log = RunLog(folder, 0)
    for step in steps:
        log.append(step, {"train/loss": 1 / step, "train/lr": 0.5})
    return log


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def test_table_and_lines_hold_the_same_numbers(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 4)).append(3, {"val/miou": 0.25})
    lines, rows = read_log(tmp_path / "log.jsonl"), table(tmp_path)
    assert list(rows[0]) == ["step", *NUMBERS]
    assert [{k: float(v) for k, v in row.items() if v} for row in rows] == lines
    assert lines[-1] == {"step": 3, "val/miou": 0.25}


def test_what_was_logged_after_the_checkpoint_is_cut_away_from_both(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 10))
    log = RunLog(tmp_path, 4)
    assert log.last_logged == {"train/loss": 9, "train/lr": 9}
    log.append(5, {"train/loss": 0.5})
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in table(tmp_path)] == ["1", "2", "3", "4", "5"]


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 3))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "train/lo')
    log = RunLog(tmp_path, 3)
    log.append(4, {"train/loss": 1.0})
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 4]
    assert len(table(tmp_path)) == 3


def test_what_is_not_finite_is_strict_json_and_an_empty_cell(tmp_path: Path) -> None:
    RunLog(tmp_path, 0).append(1, {"train/loss": float("nan"), "train/lr": float("inf")})
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["train/loss"] is None
    assert table(tmp_path)[0]["train/loss"] == ""
