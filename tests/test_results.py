"""Measured numbers in pages are those of the files of their results."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

if not (REPOSITORY / "results").is_dir():
    pytest.skip(f"{NOT_HERE}: the repository", allow_module_level=True)

from website import measured

PAGES = measured.pages()
_MEASURED = re.compile(
    r"(?<!than )(?<!to )(?<!least )(?<!most )\b(?:\d+\.\d+ (?:s|ms|minutes|GB|GiB|images/s)\b"
    r"|\d\d\.\d\d\b(?! %))|\b(?:takes?|took) \d+ (?:s|ms|minutes)\b"
)
"""Figures that only a measurement gives: a time, a speed, a memory, a score; not a limit."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_of_a_page_are_those_of_its_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert measured.filled(text) == text, "run python -m website.measured"
    assert text.count("<!-- measured:") == measured.count(text)


@pytest.mark.parametrize(
    "file", sorted(measured.RESULTS.glob("*.json")), ids=lambda file: file.stem
)
def test_a_file_of_results_says_what_was_run_when_and_where(file: Path) -> None:
    run = json.loads(file.read_text(encoding="utf-8"))["run"]
    assert [run[field] for field in measured.RUN if not run[field]] == []


def test_every_file_of_results_is_shown_on_a_page() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    shown = {name for text in texts for name in measured.files_used(text)}
    files = {file.name for file in measured.RESULTS.glob("*.json")}
    assert {name for name in files - shown if not any(name in text for text in texts)} == set()


def test_a_changed_number_changes_its_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    rows = [{"name": "a", "miou": 0.5, "low": -0.012}, {"name": "b", "miou": 1, "low": None}]
    run = {"date": "2026-11-28", "machine": "CPU", "precision": "float32"}
    (tmp_path / "x.json").write_text(json.dumps({"run": run, "results": {"rows": rows}}))
    marker = "<!-- measured: x.json rows\n| {name} | {miou:p} | {low:+p1} |\n-->\n\n"
    head = "| | mIoU | difference |\n|---|---|---|\n"
    page = f"Before.\n\n{marker}{head}| a | 1 | 2 |\n\nAfter.\n"
    expected = (
        f"Before.\n\n{marker}{head}| a | 50.00 | -1.2 |\n| b | 100 | \N{EN DASH} |\n\nAfter.\n"
    )
    assert measured.filled(page) == expected
    source = "\n<small>[x.json](../../results/x.json): 2026-11-28, CPU, float32</small>\n"
    shown = measured.with_sources(expected, "docs/how-to/page.md")
    assert shown == expected.replace(marker, "").replace("\n\nAfter", f"\n{source}\nAfter")


def test_a_number_in_a_sentence_is_that_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    run = {"date": "2026-11-28", "machine": "CPU", "precision": "float32"}
    rows = {"run": run, "results": {"a b": {"miou": 0.5}, "images": 1200}}
    (tmp_path / "x.json").write_text(json.dumps(rows))
    miou, images = (
        "<!-- measured: x.json [a b][miou]:p1 -->",
        "<!-- measured: x.json [images]:, -->",
    )
    page = f"It has {miou}**{{}}** on {images}{{}}.\n"
    assert measured.filled(page.format("49.9", "1,100")) == page.format("50.0", "1,200")
    assert measured.count(page.format("1", "2")) == 2
    assert measured.files_used(page.format("1", "2")) == {"x.json"}
    shown = measured.with_sources(page.format("50.0", "1,200"), "docs/how-to/page.md")
    source = "[x.json](../../results/x.json): 2026-11-28, CPU, float32"
    text = "It has **50.0** on 1,200.\n"
    assert shown == f"{text}\n<small>Figures in the text: {source}</small>\n"


def test_a_comma_after_a_number_in_a_sentence_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({"results": {"images": 1200}}))
    page = "On <!-- measured: x.json [images]:, -->1,200, and more.\n"
    assert measured.filled(page) == page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_measured_figures_in_sentences_come_from_files(page: Path) -> None:
    text = measured.without_numbers(page.read_text(encoding="utf-8"))
    prose = re.sub(
        r"^```.*?^```|^ {4}.*?$|^\|.*?$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL
    )
    assert _MEASURED.findall(prose) == [], "a file of results/ states it, or no sentence does"
