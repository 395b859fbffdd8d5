"""Every page has the one frame and the one stylesheet, and shares are written in one way."""

import re
from pathlib import Path

import pytest

import segmenter
from segmenter.pages import css_color, render_page, template_environment
from segmenter.text import percent, span

PACKAGE = Path(segmenter.__file__).parent
PARTS = {"page.html.jinja", "parts.html.jinja", "statistics.html.jinja"}
PAGES = [each for each in sorted(PACKAGE.rglob("*.html.jinja")) if each.name not in PARTS]


@pytest.mark.parametrize("template", PAGES, ids=lambda each: each.name)
def test_a_page_has_the_frame_and_no_style_of_its_own(template: Path) -> None:
    text = template.read_text()
    assert text.startswith("{% extends 'page.html.jinja' %}")
    assert "<style" not in text
    assert "<html" not in text


def test_one_module_makes_jinja_environments() -> None:
    importing = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(import|from) jinja2\b", path.read_text(), flags=re.MULTILINE)
    ]
    assert importing == ["pages/__init__.py"]


def test_a_page_escapes_names_and_ends_with_its_footer() -> None:
    values = {"name": "<b>\u202e", "done": 0, "steps": 1, "tiles": [], "charts": []}
    page = render_page("segmenter.training.log", "curves.html.jinja", **values).decode()
    assert "<h1>&lt;b&gt;\\u202e</h1>" in page
    assert page.index("</style>") < page.index("<header>") < page.index("<footer>")


def test_plain_text_is_not_escaped() -> None:
    environment = template_environment("segmenter.pages", is_html=False)
    assert environment.from_string("{{ name }}\n").render(name="a & b") == "a & b\n"


def test_shares_are_written_in_per_cent() -> None:
    assert (percent(0.71664), percent(0.5, 0), percent(None)) == ("71.66", "50", "-")
    assert percent(-0.01, 1, "+") == "-1.0"
    assert span((0.1, 0.25), 1, "+") == "+10.0 to +25.0"
    assert span(None) == "-"


def test_a_colour_is_six_hexadecimal_digits() -> None:
    assert css_color((42, 111, 202)) == "#2a6fca"
