"""Measured numbers in pages: a comment names the file of results and the form of the lines.

    python -m website.measured

writes the numbers into the pages again, after a file of results has changed. The comment stands
above a table or a paragraph. Its first line names files in `results/`, and optionally a key inside
a file; the lines that follow are filled in with the numbers of the file:

    <!-- measured: crops.json rows
    | {crop} | {miou:p2} ({low:p1} to {high:p1}) |
    -->

A key to a list, or to a dict of dicts, repeats the lines for each entry; `{key}` is the entry's
name. Without a key, a field may start with the name of a file: `{crops[rows][0][miou]:p2}`.
Fields are those of `str.format`. Three formats are added: `p2` is per cent with two digits, `+p2`
the same with its sign, and `p` is like `p2`, but 100 if all are meant. A missing number is a dash.

In a sentence, a comment stands before the number, on the same line:

    Poles reach <!-- measured: crops.json [rows][0][miou]:p2 -->61.06 per cent.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from website.links import REPOSITORY

RESULTS = REPOSITORY / "results"
RUN = ("command", "commit", "date", "machine", "precision")
"""Fields of `run` in each file of results."""

_BLOCK = re.compile(
    r"^<!-- measured: (?P<files>[\w-]+\.json(?: [\w-]+\.json)*)(?: (?P<key>\S+))?\n"
    r"(?P<form>.*?)\n-->\n\n"
    r"(?P<head>\|[^\n]*\n\|[-:| ]+\|\n)?(?P<body>(?:[^\n]+\n)+)",
    flags=re.MULTILINE | re.DOTALL,
)


_INLINE = re.compile(
    r"(?P<comment><!-- measured: (?P<file>[\w-]+\.json) (?P<field>\[[^\n]+?) -->)(?P<marks>\**)"
    r"(?P<number>[+-]?\d+(?:,\d{3})*(?:\.\d+)?)"
)


class _Form(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return "\N{EN DASH}"
        if format_spec == "p" and value == 1:
            return "100"
        found = re.fullmatch(r"(\+?)p(\d?)", format_spec)
        if found is None:
            return super().format_field(value, format_spec)
        return format(100 * value, f"{found[1]}.{found[2] or 2}f")


def filled(page: str) -> str:
    """Return a page whose measured parts hold the numbers of their files.

    Raises:
        KeyError: If a file lacks a number that the page asks for.
    """
    return _INLINE.sub(_filled_inline, _BLOCK.sub(_filled_block, page))


def read(name: str) -> Any:
    """Return the numbers of a file of results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))["results"]


def _filled_block(block: re.Match[str]) -> str:
    files = {name.removesuffix(".json"): read(name) for name in block["files"].split()}
    results = next(iter(files.values()))
    if block["key"]:
        entries = _entries(results, block["key"])
    else:
        entries = iter([files if isinstance(results, list) else results | files])
    lines = [_Form().vformat(block["form"], (), entry) for entry in entries]
    before = block[0][: block.start("body") - block.start()]
    return before + "\n".join(lines) + "\n"


def _filled_inline(number: re.Match[str]) -> str:
    """Return a comment with the number of its file behind it."""
    form = "{results" + number["field"] + "}"
    return (
        number["comment"]
        + number["marks"]
        + _Form().vformat(form, (), {"results": read(number["file"])})
    )


def _entries(results: Any, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a list or dict inside a file."""
    for name in key.split("."):
        results = results[name]
    if isinstance(results, list):
        yield from results
    else:
        for name, entry in results.items():
            yield {"key": name, **entry}


def pages() -> list[Path]:
    """Return the pages that may hold measured numbers."""
    return [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]


def files_used(page: str) -> set[str]:
    """Return the names of the files of results that a page takes numbers from."""
    named = [block["files"] for block in _BLOCK.finditer(page)]
    named += [number["file"] for number in _INLINE.finditer(page)]
    return {name for names in named for name in names.split()}


def without_numbers(page: str) -> str:
    """Return a page without its measured parts."""
    return _INLINE.sub("", _BLOCK.sub("", page))


def count(page: str) -> int:
    """Return the number of measured parts of a page."""
    return len(_BLOCK.findall(page)) + len(_INLINE.findall(page))


def with_sources(page: str, path: str) -> str:
    """Return a page for the site: instead of comments, lines name the runs.

    They stand below each table, and at the end of the page for the figures in its sentences.
    """
    in_tables = {name for block in _BLOCK.finditer(page) if block["head"] for name in _files(block)}
    shown = _BLOCK.sub(lambda block: _with_source(block, path), page)
    shown = _INLINE.sub(lambda number: number["marks"] + number["number"], shown)
    others = sorted(files_used(page) - in_tables)
    if not others:
        return shown
    sources = "; ".join(_source(name, path) for name in others)
    return f"{shown}\n<small>Figures in the text: {sources}</small>\n"


def _with_source(block: re.Match[str], path: str) -> str:
    text = (block["head"] or "") + block["body"]
    if not block["head"]:
        return text
    sources = "; ".join(_source(name, path) for name in _files(block))
    return f"{text}\n<small>{sources}</small>\n"


def _files(block: re.Match[str]) -> list[str]:
    return block["files"].split()


def _source(name: str, path: str) -> str:
    """Return a link to a file of results, with date, machine and precision of its run."""
    run = json.loads((RESULTS / name).read_text(encoding="utf-8"))["run"]
    file = posixpath.relpath(f"results/{name}", posixpath.dirname(path))
    kept = ", transcribed" if run.get("note", "").startswith("Entered") else ""
    return f"[{name}]({file}): {run['date']}, {run['machine']}, {run['precision']}{kept}"


def main() -> None:
    """Write every page again whose numbers differ from those of its files."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (mended := filled(text)) != text:
            page.write_text(mended, encoding="utf-8")
            print(page.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
