"""Imports go one way: a lower layer never imports a higher one (docs/explanation/design.md)."""

import ast
import re
from pathlib import Path

import pytest

import segmenter

PACKAGE = Path(segmenter.__file__).parent
TESTS = Path(__file__).parent
ROOMS = [
    "options",
    "spelling",
    "errors",
    "text",
    "notebook",
    "terminal",
    "memory",
    "numbers",
    "image_spec",
    "files",
    "calls",
    "classes",
    "class_lists",
    "model",
    "recipe",
    "drawing",
    "pages",
    "data",
    "label_files",
    "checkpoints",
    "runtimes",
    "inference",
    "evaluation",
    "training",
    "fitting",
    "predicting",
    "extras",
    "api",
    "commands",
]
"""From the ground up: a room imports only those before it; api and commands alone import extras."""
NARROWER = {
    "model": {"errors", "numbers", "image_spec", "files", "classes"},
}
"""Rooms that import less than their place allows."""
DOORS = {"__init__", "__main__", "cluster"}
"""Modules that only hand on what others have."""


def may_import(room: str) -> set[str]:
    return NARROWER.get(room, set(ROOMS[: ROOMS.index(room)]))


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "segmenter":
                names = [f"segmenter.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("segmenter.")}
    return parts


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_go_one_way(path: Path) -> None:
    assert ".__init__ import" not in path.read_text(), "this makes a second module of a package"
    part = part_of(path)
    if part not in DOORS:
        assert imported(path) <= may_import(part) | {part}


def test_only_the_cluster_imports_ray() -> None:
    importing = {
        path.parent.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) ray\b", path.read_text(), flags=re.MULTILINE)
    }
    assert importing == {"cluster"}


def test_catch_all_modules_do_not_exist() -> None:
    stems = {path.stem for path in PACKAGE.rglob("*.py")}
    assert stems.isdisjoint({"utils", "util", "common", "helpers", "misc", "base"})


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda p: str(p.relative_to(TESTS))
)
def test_what_several_tests_use_is_in_a_helper(path: Path) -> None:
    for module in re.findall(r"^\s*(?:from|import) (tests[\w.]*)", path.read_text(), re.MULTILINE):
        is_helper = not re.search(r"\.(test_\w+|conftest)$", module)
        assert is_helper, f"{path.name} imports {module}; import from tests.helpers"


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda p: str(p.relative_to(TESTS))
)
def test_every_test_module_says_what_it_holds(path: Path) -> None:
    content = path.read_text()
    assert not content or ast.get_docstring(ast.parse(content))


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda p: str(p.relative_to(TESTS))
)
def test_tests_wait_for_events_and_not_for_a_time(path: Path) -> None:
    if path.name not in {"waiting.py", "soak_service.py"}:
        assert not re.search(r"\bsleep\(", path.read_text()), "tests.helpers.waiting has a way"
