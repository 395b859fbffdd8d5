"""The scripts of the pages' numbers call the package as it is now."""

import ast
import importlib
from pathlib import Path

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))

if not SCRIPTS:
    pytest.skip(f"{NOT_HERE}: the repository", allow_module_level=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.stem)
def test_what_a_benchmark_imports_from_the_package_is_there(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named = [
        (node.module, alias.name)
        for node in imports
        if node.module and node.module.partition(".")[0] == "segmenter"
        for alias in node.names
    ]
    assert [each for each in named if not is_there(*each)] == []


def is_there(module: str, name: str) -> bool:
    """Return whether a module has a name, or a submodule of that name."""
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True
