"""The generated parts of the reference hold what the source holds."""

import re

import pytest

from segmenter.data.masks.problems import KINDS
from segmenter.extras.export.formats import FORMATS
from segmenter.extras.serving.openapi import openapi
from tests.helpers.command_words import COMMANDS, arguments_of
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

generated = pytest.importorskip("website.generated", reason=f"{NOT_HERE}: the repository")


def test_every_command_and_flag_is_on_its_page() -> None:
    sections = dict(
        re.findall(r"^### segmenter (\w+)\n(.*?)(?=^##|\Z)", generated.command_line(), re.M | re.S)
    )
    assert sorted(sections) == sorted(COMMANDS)
    for command, section in sections.items():
        for argument in arguments_of(command).values():
            for name in argument.names:
                assert f"`{name}`" in section, (command, name)


def test_every_field_of_a_recipe_is_on_its_page_and_explained() -> None:
    text = generated.recipe_fields()
    frozen = REPOSITORY / "tests/commands/recipe_fields.txt"
    for line in frozen.read_text(encoding="utf-8").splitlines():
        name = line.split()[0]
        if name != "auto":
            assert f"| `{name.rpartition('.')[2]}` |" in text, name
    without_meaning = re.findall(r"^\| `(\w+)` \|.*\|  \|$", text, flags=re.M)
    assert without_meaning == []


def test_tables_have_a_row_for_each_kind() -> None:
    assert all(f"| `{name}` |" in generated.checks() for name in KINDS)
    assert all(f"| `{name}` |" in generated.export_formats() for name in FORMATS)
    assert all(f" {path}` |" in generated.http() for path in openapi("NAME", "")["paths"])


def test_a_cell_with_a_bar_stays_one_cell() -> None:
    assert generated.table(["a"], [["x | y"]]).splitlines()[-1] == "| x \\| y |"


def test_every_marker_of_a_page_has_its_part_and_the_reverse() -> None:
    markers = {
        name
        for page in (REPOSITORY / "docs").rglob("*.md")
        for name in re.findall(r"^<!-- generated: ([\w-]+) -->$", page.read_text("utf-8"), re.M)
    }
    assert markers == set(generated.PARTS)
