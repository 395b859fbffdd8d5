"""Functions on the site have all of their parameters, and one result."""

from dataclasses import fields

import pytest

from segmenter.api import keywords
from tests.helpers.skips import NOT_HERE

griffe = pytest.importorskip("griffe", reason=f"{NOT_HERE}: the extra docs")
functions = pytest.importorskip("website.griffe_functions", reason=f"{NOT_HERE}: the repository")

CODE = '''
def scale(images: list) -> list[int] | None:
    """Scale images.

    Returns:
        One number for each image: its scale,
        or None.
    """
'''


@pytest.mark.parametrize("name", ["check", "convert", "evaluate", "export", "fit", "train"])
def test_every_option_of_a_command_is_a_parameter(name: str) -> None:
    lines = functions.options(name)
    for kind in getattr(keywords, name.upper()):
        assert all(f"    {field.name} (" in lines for field in fields(kind))


def test_a_parameter_shows_its_choices() -> None:
    assert "    format (onnx | openvino | triton | web): Target" in functions.options("export")


def test_a_result_of_several_lines_is_one_item_of_its_type() -> None:
    extensions = griffe.load_extensions(functions.WholeFunctions())
    code = {"__init__.py": CODE}
    with griffe.temporary_visited_package("scaling", code, extensions=extensions) as module:
        docstring = module["scale"].docstring
    parsed = docstring.parse("google", returns_multiple_items=False, returns_named_value=False)
    (result,) = parsed[-1].value
    assert str(result.annotation) == "list[int] | None"
    assert result.description == "One number for each image: its scale,\nor None."
