"""Each word of the command line, and each number of a recipe, is taken as it stands or refused."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from segmenter.errors import UserError
from segmenter.files.yaml import parse_value
from segmenter.recipe import Recipe, read_recipe
from tests.helpers.command_line import refused
from tests.helpers.command_words import COMMANDS, arguments_of, leaves, words_for

NO_WHOLE_NUMBERS = [
    "2.5",
    "2.0",
    "1e3",
    "0x10",
    "0b1",
    "1_000",
    "\uff11",
    "²",
    "true",
    "nan",
    "9" * 30,
]
NO_REAL_NUMBERS = ["nan", "inf", "-Infinity", "1e999", "0x1p3", "1_0.5", "\uff11.5", "true", "1,5"]
NO_TEXTS = ["", " ", "a\x00b", "a\nb", "a\x1b[31mb", "x" * 256, "x/" * 2048 + "x", "\ud800"]


def arguments_of_type(*types: type) -> Iterator[tuple[str, str]]:
    """Every command with every argument that takes one of these types."""
    for command in COMMANDS:
        for name, argument in arguments_of(command).items():
            if leaves(argument.hint) & set(types):
                yield command, name


def command_line(command: str, argument: str, word: str) -> list[str]:
    """A command with all that it needs, and one word for one argument."""
    given = {}
    for name, each in arguments_of(command).items():
        if each.required or name == argument:
            is_pair = get_origin(each.hint) is tuple or "tuple[float, float]" in str(each.hint)
            given[name] = [word if name == argument else "x"] * (2 if is_pair else 1)
    return words_for(command, given)


@pytest.mark.parametrize(("command", "argument"), [*arguments_of_type(int)])
def test_a_whole_number_is_plain_digits(
    command: str, argument: str, capsys: pytest.CaptureFixture
) -> None:
    for word in NO_WHOLE_NUMBERS:
        error = refused(capsys, *command_line(command, argument, word))
        assert f"--{argument.replace('_', '-')} takes a whole number" in error


@pytest.mark.parametrize(("command", "argument"), [*arguments_of_type(float)])
def test_a_number_is_finite(command: str, argument: str, capsys: pytest.CaptureFixture) -> None:
    for word in NO_REAL_NUMBERS:
        error = refused(capsys, *command_line(command, argument, word))
        assert f"--{argument.replace('_', '-')} takes a finite number" in error


@pytest.mark.parametrize(("command", "argument"), [*arguments_of_type(str, Path)])
def test_a_text_or_path_can_name_something(
    command: str,
    argument: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in NO_TEXTS:
        error = refused(capsys, *command_line(command, argument, word))
        assert re.search("is empty|control characters|not a text|longer than a name", error), error
    assert not list(tmp_path.iterdir())


def numbers_of_a_recipe(
    model: type[BaseModel] = Recipe, at: str = ""
) -> Iterator[tuple[str, type]]:
    """Where each number of a recipe stands, such as `schedule.steps`, and its type."""
    for name, field in model.model_fields.items():
        for leaf in sorted(leaves(field.annotation), key=str):
            if isinstance(leaf, type) and issubclass(leaf, BaseModel):
                yield from numbers_of_a_recipe(leaf, f"{at}{name}.")
            elif leaf in (int, float) or get_args(leaf)[:1] == (1,):
                yield at + name, float if leaf is float else int


@pytest.mark.parametrize(("field", "kind"), [*numbers_of_a_recipe()])
def test_a_number_of_a_recipe_is_finite_and_neither_text_nor_true(field: str, kind: type) -> None:
    wrong = [True, "5", math.nan, math.inf, *([2.5, 2.0] if kind is int else [])]
    for value in [*wrong, *([each, each] for each in wrong)]:
        changes = value
        for name in reversed(field.split(".")):
            changes = {name: changes}
        with pytest.raises(UserError, match=re.escape(field)):
            read_recipe("street", changes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E4", 1e4),
        ("-.5", -0.5),
        ("+5", 5),
        ("-0", 0),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("\uff11", "\uff11"),
        ("2024-01-01", "2024-01-01"),
        ("9" * 5000, "9" * 5000),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_numbers_of_a_file_of_ours_are_written_as_people_write_them(text: str, value: Any) -> None:
    read = parse_value(text)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("command", ["check", "train"])
def test_an_unknown_option_points_to_the_help_of_its_command(
    command: str, capsys: pytest.CaptureFixture
) -> None:
    flag = "--drfat" if command == "check" else "--device"  # train takes fields of any name
    words = [command, *(["x"] if command == "check" else []), flag]
    assert f"(see `segmenter {command} --help`)" in refused(capsys, *words)
