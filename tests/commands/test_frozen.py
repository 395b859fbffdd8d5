"""The command line and the fields of a recipe are frozen: a change of either is a decision.

`python -m tests.commands.test_frozen` writes both files anew, for a commit that says why.
"""

import re
from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from segmenter.commands import main
from segmenter.commands.command_table import GROUPS, RENAMED
from segmenter.recipe import Recipe
from tests.helpers.command_line import run
from tests.helpers.command_words import COMMANDS, arguments_of

HERE = Path(__file__).parent


def command_line() -> Iterator[str]:
    """A line for each argument: command, flags, type, default."""
    for command in sorted(COMMANDS):
        yield command
        for argument in arguments_of(command).values():
            default = argument.field_info.default
            needed = (
                "required" if argument.required or default is Parameter.empty else repr(default)
            )
            line = f"  {' '.join(argument.names)}  {spelled(argument.hint)}  {needed}"
            yield re.sub("(Posix|Windows)Path", "Path", line)


def spelled(hint: Any) -> str:
    """A type in words that do not depend on the version of Python."""
    inner = get_args(hint)
    if not inner:
        return "None" if hint is type(None) else hint.__name__
    if get_origin(hint) is Literal:
        return " ".join(map(str, inner))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(spelled, inner))
    names = ["..." if each is ... else spelled(each) for each in inner]
    return f"{get_origin(hint).__name__}[{', '.join(names)}]"


def recipe_fields(model: type[BaseModel] = Recipe, at: str = "") -> Iterator[str]:
    """A line for each field, such as `schedule.steps`, its default behind it."""
    for name, field in model.model_fields.items():
        inner = [each for each in models_in(field.annotation) if each is not model]
        if not inner:
            default = "required" if field.is_required() else repr(field.get_default())
            yield f"{at}{name}  {default}"
        for each in inner:
            kind = f"<{each.__name__}>" if len(inner) > 1 else ""
            yield from recipe_fields(each, f"{at}{name}{kind}.")


def models_in(hint: Any) -> list[type[BaseModel]]:
    """The models inside a hint."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [found for each in get_args(hint) for found in models_in(each)]


FROZEN = {"command_line.txt": command_line, "recipe_fields.txt": recipe_fields}


@pytest.mark.parametrize("name", FROZEN)
def test_a_flag_or_field_changes_on_purpose_alone(name: str) -> None:
    frozen = (HERE / name).read_text(encoding="utf-8").splitlines()
    assert list(FROZEN[name]()) == frozen, "python -m tests.commands.test_frozen writes it anew"


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_flag_answers_with_the_new_one(old: str, capsys: pytest.CaptureFixture) -> None:
    command, _, flag = old.rpartition(" ")
    assert run(command or "predict", flag, "1") == 2
    assert capsys.readouterr().err == f"segmenter: {flag} is now {RENAMED[old]}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_and_exit_statuses(
    command: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert "--empty-" not in said
    assert "[KEYWORD]" not in said
    row = next(rows[command] for rows in GROUPS.values() if command in rows)
    last = [line.strip() for line in said.splitlines() if line.strip()][-len(row.examples) :]
    assert last == [f"segmenter {command} {each}".strip() for each in row.examples]
    assert "Exit status: 0" in said


if __name__ == "__main__":
    for name, lines in FROZEN.items():
        (HERE / name).write_text("\n".join(lines()) + "\n", encoding="utf-8")
