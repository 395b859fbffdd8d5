"""Imports go one way: a lower layer never imports a higher one (docs/design.md)."""

import ast
import re
from pathlib import Path

import pytest

import segmenter

PACKAGE = Path(segmenter.__file__).parent
LEAVES = {"errors", "memory", "numbers", "validation", "manifest", "outputs", "text"}
MAY_IMPORT = {
    "errors": set(),
    "memory": set(),
    "numbers": set(),
    "manifest": {"errors"},
    "outputs": {"errors", "manifest"},
    "validation": {"errors"},
    "class_file": set(),
    "classes": LEAVES | {"class_file"},
    "class_lists": LEAVES | {"classes"},
    "text": set(),
    "loss_recipe": {"numbers"},
    "model_recipe": {"numbers"},
    "recipe": LEAVES | {"loss_recipe", "model_recipe"},
    "model": LEAVES | {"classes"},
    "checkpoints": LEAVES | {"classes", "class_lists", "drawing", "model"},
    "export": LEAVES | {"classes", "model"},
    "data": LEAVES | {"classes", "class_lists"},
    "configs": LEAVES | {"class_lists", "model", "checkpoints", "data"},
    "drawing": LEAVES | {"classes"},
    "annotations": LEAVES | {"classes"},
    "checking": LEAVES | {"classes", "data", "drawing"},
    "inference": LEAVES
    | {"annotations", "classes", "class_lists", "model", "checkpoints", "data", "drawing"}
    | {"export"},
    "evaluation": LEAVES | {"classes", "model", "data", "drawing", "inference"},
    "training": LEAVES | {"classes", "model", "checkpoints", "data", "loss_recipe", "recipe"},
    "build": LEAVES
    | {"build_spec", "classes", "model", "checkpoints", "data", "inference", "evaluation"}
    | {"model_recipe", "recipe", "training"},
    "build_spec": LEAVES | {"classes", "model", "model_recipe", "recipe"},
    "explaining": LEAVES | {"model", "drawing", "inference"},
    "serving": LEAVES | {"annotations", "classes", "data", "drawing", "explaining", "inference"},
    "cluster": LEAVES | {"data", "drawing", "inference", "serving"},
    "sharing": LEAVES | {"model", "checkpoints"},
    "scoring": LEAVES | {"model", "data", "inference", "evaluation", "recipe", "training"},
    "commands": None,
    "cli": {"commands", "errors", "recipe", "text", "validation"},
    "__init__": None,
    "__main__": {"cli"},
}


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
    part = part_of(path)
    allowed = MAY_IMPORT[part]
    if allowed is not None:
        assert imported(path) <= allowed | {part}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 330


def test_only_the_cluster_imports_ray() -> None:
    importing = {
        part_of(path)
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) ray\b", path.read_text(), flags=re.MULTILINE)
    }
    assert importing == {"cluster"}


def test_catch_all_modules_do_not_exist() -> None:
    stems = {path.stem for path in PACKAGE.rglob("*.py")}
    assert stems.isdisjoint({"utils", "util", "common", "helpers", "misc", "base"})
