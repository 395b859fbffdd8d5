"""Every page has the one frame and the one stylesheet, and shares are written in one way."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segmenter
from segmenter.pages import css_color, label_map_uri, render_page, template_environment
from segmenter.pages.axes import round_steps
from segmenter.text import percent, span
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

PACKAGE = Path(segmenter.__file__).parent
PARTS = {"page.html.jinja", "parts.html.jinja", "statistics.html.jinja"}
SERVED = sorted(PACKAGE.rglob("page/index.html"))
PAGES = [each for each in sorted(PACKAGE.rglob("*.html.jinja")) if each.name not in PARTS]


@pytest.mark.parametrize("template", PAGES, ids=lambda each: each.name)
def test_a_page_has_the_frame_and_no_style_of_its_own(template: Path) -> None:
    text = template.read_text()
    assert text.startswith("{% extends 'page.html.jinja' %}")
    assert "<style" not in text
    assert "<html" not in text


@pytest.mark.parametrize("page", SERVED, ids=lambda each: each.parents[1].name)
def test_a_served_page_has_the_one_stylesheet_and_its_colours(page: Path) -> None:
    styles = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page.read_text())
    assert styles[0] == "style.css"
    shared = re.findall(r"(--[\w-]+):", (PACKAGE / "pages/style.css").read_text())
    for own in styles[1:]:
        names = re.findall(r"(--[\w-]+):", (page.parent / own).read_text())
        assert set(names).isdisjoint(shared)


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
    assert "<h1>Training: &lt;b&gt;\\u202e</h1>" in page
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


@pytest.mark.skipif(not (REPOSITORY / "docs").is_dir(), reason=f"{NOT_HERE}: the repository")
@pytest.mark.parametrize("template", PAGES, ids=lambda each: each.name)
def test_a_page_names_the_page_of_the_documentation_that_explains_it(template: Path) -> None:
    (page,) = re.findall(r'set explained_in = "([^"]+)"', template.read_text())
    assert (REPOSITORY / "docs" / f"{page}.md").is_file()


def test_a_page_says_version_and_day_and_its_styles_suit_light_and_dark() -> None:
    values = {"name": "n", "done": 0, "steps": 1, "tiles": [], "charts": []}
    page = render_page("segmenter.training.log", "curves.html.jinja", **values).decode()
    assert re.search(r"<b>Segmenter</b> [\d.]+ · \d{4}-\d\d-\d\d", page)
    assert "prefers-color-scheme: dark" in page


def test_words_between_backticks_are_code_and_are_escaped() -> None:
    code = template_environment("segmenter.pages").from_string("{{ text | code }}")
    assert code.render(text="add `<a>` to b") == "add <code>&lt;a&gt;</code> to b"
    assert code.render(text="a ` and <b>") == "a ` and &lt;b&gt;"


def test_a_small_label_map_holds_large_labels_too() -> None:
    labels = np.array([[0, 700], [65535, 3]], dtype=np.uint16)
    content = base64.b64decode(label_map_uri(labels).partition(",")[2])
    pixels = np.array(Image.open(BytesIO(content))).astype(int)
    np.testing.assert_array_equal(pixels[..., 0] + 256 * pixels[..., 1], labels)
    assert max(pixels.shape) <= 160


def test_steps_of_an_axis_are_round_and_enclose_its_range() -> None:
    assert round_steps(0, 100, 5) == [0, 20, 40, 60, 80, 100]
    assert round_steps(0, 7.3) == [0, 2, 4, 6, 8]
    assert round_steps(3, 3)[0] < 3 < round_steps(3, 3)[-1]
