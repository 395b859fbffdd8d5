"""Text from outside is shown so that it neither steers a terminal nor misleads a reader."""

import io
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmenter import commands
from segmenter.commands.streams import guarded_streams
from segmenter.label_files.annotations.annotation_files import SET_FORMATS, labelme_json
from segmenter.text import duration, for_page, for_terminal, for_xml, visible
from tests.helpers.models import make_classes

HOSTILE = "ro\u202ead\u200b\x9b31m\u2028\u00ad\ufeff\u3164\U000e0041"
SHOWN = r"ro\u202ead\u200b\x9b31m\u2028\xad\ufeff\u3164\U000e0041"
ORDINARY = (
    "é 中文 ß Ελλάδα дорога עברית عربى हिन्दी ไทย 한국어 road-1 €\xa0\u3000",
    "🚗 \u2764\ufe0f 👨\u200d👩\u200d👧 👍🏽 1\ufe0f\u20e3 🏳\ufe0f\u200d🌈",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0915\u094d\u200d\u0937",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_letters_accents_and_emoji_stay(text: str) -> None:
    assert visible(text) == text


def test_what_hides_or_reorders_is_shown_by_its_number() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("\x1b]0;title\x07\r\n\udcff\ufdd0") == r"\x1b]0;title\x07\r\n\udcff\ufdd0"
    assert visible("a\u200db\u200cc\ufe0f \u200d") == r"a\u200db\u200cc\ufe0f \u200d"


@given(st.text(st.characters(codec=None)))
def test_nothing_hidden_is_left_and_visible_text_stays(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    left = {unicodedata.category(character) for character in shown} - {"Cf"}
    assert left.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert not set(shown) & set(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B]))


def test_markup_and_numbers_of_a_page_stay_as_they_are() -> None:
    assert for_page("a\n\u202e") == "a\n\\u202e"
    assert for_page(0.5) == 0.5


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
def test_xml_reads_back_as_it_was(text: str) -> None:
    element = ElementTree.Element("a", {"name": text})
    written = for_xml(ElementTree.tostring(element, encoding="unicode"))
    assert ElementTree.fromstring(written).attrib["name"] == text
    assert "\u202e" not in written


@pytest.mark.parametrize("name", list(SET_FORMATS))
def test_class_names_in_annotations_are_visible(name: str) -> None:
    classes = make_classes(2)
    first = classes.classes[0].model_copy(update={"name": HOSTILE.replace("\x9b", "")})
    classes = classes.model_copy(update={"classes": (first, classes.classes[1])})
    labels = np.eye(4, dtype=np.uint8)
    lines = [SET_FORMATS[name].line("a.jpg", labels, classes)]
    text = "".join(SET_FORMATS[name].parts(lambda: iter(lines), classes))
    shown = SHOWN.replace(r"\x9b", "")
    assert shown in (text if name == "cvat" else text.replace("\\\\", "\\"))
    shapes = json.loads(labelme_json("a.jpg", labels, classes))["shapes"]
    assert shown in str(shapes).replace("\\\\", "\\")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], str]:
    """What a terminal gets when a function prints to standard output."""

    def run(function: Callable[[], None]) -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        with guarded_streams():
            function()
        return terminal.getvalue()

    return run


def test_a_terminal_gets_styles_of_ours_and_no_codes_of_a_name(
    printed: Callable[[Callable[[], None]], str],
) -> None:
    from rich.console import Console

    def show() -> None:
        print("\x1b[31mname\u202e")
        Console(force_terminal=True, color_system="standard").print("[red]styled\u202e[/red]")

    text = printed(show)
    assert r"\x1b[31mname\u202e" in text
    assert "\x1b[31mstyled\\u202e\x1b[0m" in text


@pytest.mark.parametrize("word", ["a\u202eb.jpg", "a\u200b", "\x9b2J", "\udcff"])
@pytest.mark.parametrize("command", ["predict", "explain", "card", "check", "train"])
def test_an_error_shows_a_name_without_obeying_it(
    command: str, word: str, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        commands.main([command, str(tmp_path / word)])
    error = capsys.readouterr().err
    assert ascii(word)[1:-1] in error or "control characters" in error
    assert for_terminal(error) == error


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3540.0, "59 min"),
        (3590.0, "1 h"),
        (4800.0, "1 h 20 min"),
        (2 * 86400.0, "2 d"),
        (180000.0, "2 d 2 h"),
    ],
)
def test_a_time_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
