"""The notebooks of `examples/`: small, executed, and they run."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

EXAMPLES = REPOSITORY / "examples"
NOTEBOOKS = ["predict", "train", "checkpoint", "few_labels"]
MAX_BYTES = 500_000

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"{NOT_HERE}: the repository")


def cells(name: str) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    content = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def execute(source: str, names: dict[str, object]) -> object:
    """Run a cell; returns the value of its last expression, which a notebook shows."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return (
        None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    )


def test_there_are_no_other_notebooks() -> None:
    assert {path.stem for path in EXAMPLES.rglob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_and_was_executed_from_top_to_bottom(name: str) -> None:
    text = (EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < MAX_BYTES
    found = cells(name)
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    outputs = [output for cell in found for output in cell["outputs"]]
    assert outputs
    assert not [each for each in outputs if each["output_type"] == "error"]
    kept = re.sub(r'"image/(png|jpeg)": "[^"]*"', "", text)
    assert not re.findall(r"Warning|Traceback|/home/|/root/|/work/", kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_shows_what_it_showed(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(EXAMPLES.rglob("*"))
    names: dict[str, object] = {}
    for cell in cells(name):
        value = execute("".join(cell["source"]), names)
        kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        if "image/jpeg" in kinds:
            assert value._repr_jpeg_().startswith(b"\xff\xd8")  # type: ignore[union-attr]
        elif value is not None:
            assert repr(value)
    assert sorted(EXAMPLES.rglob("*")) == before
