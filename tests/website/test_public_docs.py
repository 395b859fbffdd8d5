"""Every public object says what it takes and gives, what it raises, and shows an example."""

import ast
import inspect
import re

import pytest

import segmenter
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

OBJECTS = {name: getattr(segmenter, name) for name in segmenter.__all__}
DATA = {
    "AttentionMaps",
    "EvaluationProtocol",
    "FittedModel",
    "ModelSpec",
    "Protocol",
    "Segmentation",
    "TrainedModel",
}
"""Classes that are returned or read rather than called with arguments."""


def methods() -> list[tuple[str, object]]:
    return [
        (f"{name}.{key}", member)
        for name, each in OBJECTS.items()
        if inspect.isclass(each) and each is not segmenter.UserError
        for key, member in vars(each).items()
        if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
    ]


def example(documented: object) -> str:
    """The code of the example in a docstring."""
    text = inspect.getdoc(documented) or ""
    found = re.search(r"^Examples?:\n((?:(?: {4}.*)?\n?)*)", text, flags=re.MULTILINE)
    lines = inspect.cleandoc(found[1]).splitlines() if found else []
    return "\n".join(re.sub(r"^(?:>>>|\.\.\.) ?", "", line) for line in lines)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_object_shows_an_example_that_is_python(name: str) -> None:
    assert ast.parse(example(OBJECTS[name])).body, f"{name} has no example"


@pytest.mark.parametrize(
    "name", [name for name in OBJECTS if name not in DATA | {"UserError", "Segmenter"}]
)
def test_a_public_function_names_its_arguments_and_errors(name: str) -> None:
    text = inspect.getdoc(OBJECTS[name]) or ""
    assert "\nArgs:\n" in text
    assert "\nRaises:\n" in text


@pytest.mark.parametrize(
    ("name", "member"), [pytest.param(*each, id=each[0]) for each in methods()]
)
def test_a_public_method_says_what_it_is(name: str, member: object) -> None:
    assert inspect.getdoc(member), name


def test_the_page_of_python_has_every_public_object() -> None:
    path = REPOSITORY / "docs/reference/api.md"
    if not path.is_file():
        pytest.skip(f"{NOT_HERE}: the repository")
    listed = re.findall(r"^::: segmenter\.(\w+)$", path.read_text(encoding="utf-8"), flags=re.M)
    objects = {id(each) for each in OBJECTS.values()}  # `Protocol` is another name of one
    assert {id(OBJECTS[name]) for name in listed} == objects
    assert len(listed) == len(objects)
