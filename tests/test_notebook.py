"""Messages and progress in the kernel of a notebook, which is imitated here."""

import builtins
import sys
from types import ModuleType
from typing import Any

import pytest

from segmenter.notebook import is_notebook, message_console
from segmenter.terminal import progress_bar


class ZMQInteractiveShell:
    """The shell of a notebook, which rich knows by its name."""


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook shows below its cell; each change of an output is a further entry."""
    shown: list[Any] = []

    class Handle:
        def update(self, content: Any, raw: bool = False) -> None:
            shown.append(content["text/plain"] if raw else content._repr_mimebundle_([], []))

    def display(content: Any, display_id: bool) -> Handle:
        assert display_id
        handle = Handle()
        handle.update(content)
        return handle

    module = ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    return shown


def test_outside_a_notebook_messages_go_to_standard_error(
    capsys: pytest.CaptureFixture,
) -> None:
    assert not is_notebook()
    message_console().print("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_a_bar_of_a_notebook_moves_and_vanishes(
    displayed: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert is_notebook()
    monkeypatch.setattr("segmenter.notebook._SECONDS_PER_UPDATE", -1)
    with progress_bar("reading", 2) as advance:
        advance()
        advance()
    texts = [each if isinstance(each, str) else each["text/plain"] for each in displayed]
    assert "50%" in texts[1]
    assert "100%" in texts[2]
    assert all("reading" in text for text in texts[1:-1])
    assert texts[-1] == ""
    assert "ipywidgets" not in capsys.readouterr().err


def test_a_bar_of_a_notebook_is_not_redrawn_at_each_step(displayed: list[Any]) -> None:
    with progress_bar("reading", 1000) as advance:
        for _ in range(1000):
            advance()
    assert len(displayed) < 20


def test_messages_of_a_notebook_are_lines_of_its_cell(
    displayed: list[Any], capsys: pytest.CaptureFixture
) -> None:
    message_console().print("a line")
    assert capsys.readouterr() == ("a line\n", "")
    assert not displayed
