"""Keywords in Python are the options of the commands: their names, types, defaults and texts."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import segmenter
from segmenter.api import keywords
from segmenter.api.option_values import as_texts, make_options
from segmenter.errors import UserError
from segmenter.options import Data, Labelling, Report, Views


@pytest.mark.parametrize("name", ["evaluate", "check", "export", "convert", "fit", "train"])
def test_signature_and_help_show_each_option_with_its_default_and_its_text(name: str) -> None:
    function = getattr(segmenter, name)
    shown = inspect.signature(function).parameters
    for kind in getattr(keywords, name.upper()):
        for field in fields(kind):
            assert shown[field.name].default == field.default
            assert f"\n    {field.name}: " in function.__doc__
    assert "Example:" in function.__doc__
    texts = function.__doc__.partition("\nOptions:\n")[2]
    assert texts
    assert "--" not in texts


def test_help_gives_values_as_one_writes_them_in_python() -> None:
    for written in (
        "`window=0`",
        "`scales=[0.75, 1, 1.25]`",
        '`symmetry="mirror"`',
        '`runtime="auto"`',
        "implies statistics=True",
    ):
        assert written in (segmenter.evaluate.__doc__ or "")
    assert "`bands=[4, 3, 2]`" in (segmenter.fit.__doc__ or "")


def test_options_that_are_not_given_have_the_defaults_of_the_command() -> None:
    assert make_options("evaluate", {}, Data, Views) == [Data(), Views()]


def test_values_are_given_to_the_options_they_belong_to() -> None:
    given = {"split": "val", "scales": [1, 1.5], "json": "a.json", "flip": True}
    data, views, report, labelling = make_options("f", given, Data, Views, Report, Labelling)
    assert data == Data(split="val")
    assert views == Views(scales=(1.0, 1.5))
    assert report == Report(json=Path("a.json"))
    assert labelling == Labelling(flip=True)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"splitt": "val"}, "f has no option 'splitt', did you mean 'split'.*options are classes"),
        ({"window": "large"}, "^f: window: .*, got 'large'"),
        ({"window": 2.5}, "^f: window: .*, got 2.5"),
        ({"window": True}, "^f: window: "),
        ({"whole": "yes"}, "^f: whole: "),
        ({"label_rule": "iuo"}, "label_rule: 'iuo' is not a choice, did you mean 'iou'"),
        ({"classes": 5}, "^f: classes: "),
        ({"classes": ""}, "^f: classes is empty; give it a value, or omit it"),
        ({"split": "a\nb"}, "^f: split may hold no control characters"),
        ({"scales": "1"}, "^f: scales: "),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_line(
    given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem) as refused:
        make_options("f", given, Data, Views, Labelling)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "is a name or a path, got int"),
        ("", "is empty"),
        (None, "is a name or a path, got NoneType"),
    ],
)
def test_a_name_or_path_that_cannot_be_one_is_refused(value: object, problem: str) -> None:
    assert as_texts("f", model="street", data=Path("a")) == ["street", "a"]
    with pytest.raises(UserError, match=f"^f: model {problem}"):
        as_texts("f", model=value)
