"""Standard output and error that are full, closed or read by nobody: one line, and a status."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from segmenter import commands
from tests.helpers.skips import NOT_HERE

NO_SPACE, NO_READER = OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")


class Failing(io.StringIO):
    """A stream that takes nothing, at once or when it is flushed."""

    def __init__(self, error: OSError, *, at: str) -> None:
        super().__init__()
        self.error, self.at = error, at

    def write(self, text: str) -> int:
        if self.at == "write":
            raise self.error
        return len(text)

    def flush(self) -> None:
        if self.at == "flush":
            raise self.error


def print_both(*_: object, **__: object) -> int:
    print("", end="", file=sys.stderr)
    print("label")
    return 0


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Run a command of one printed line to its end; gives the exit status."""

    def run() -> int:
        monkeypatch.setitem(commands.main.__globals__, "app", print_both)
        with pytest.raises(SystemExit) as ended:
            commands.main(["models"])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


@pytest.mark.parametrize("at", ["write", "flush"])
@pytest.mark.parametrize(("error", "status", "lines"), [(NO_SPACE, 2, 1), (NO_READER, 141, 0)])
def test_an_output_that_fails_ends_the_command(
    command: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    error: OSError,
    status: int,
    lines: int,
    at: str,
) -> None:
    monkeypatch.setattr(sys, "stdout", Failing(error, at=at))
    assert command() == status
    said = capsys.readouterr().err
    assert said.count("\n") == lines
    assert not lines or "standard output cannot be written: No space left" in said


def test_an_output_that_is_closed_is_said(
    command: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert command() == 2
    assert "it is closed" in capsys.readouterr().err


@pytest.mark.parametrize("stream", [None, Failing(NO_SPACE, at="write")])
def test_messages_that_nobody_gets_stop_no_work(
    command: Callable[[], int], monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert command() == 0
    assert sys.stderr is stream


REDIRECTED = {
    "> /dev/full": (2, "No space left on device"),
    ">&-": (2, "it is closed"),
    "> /dev/full 2>&-": (2, ""),
    ">&- 2>&-": (2, ""),
    "2> /dev/full": (0, ""),
    "2>&- <&-": (0, ""),
    "| true": (141, ""),
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason=f"{NOT_HERE}: /dev/full")
@pytest.mark.parametrize("redirected", list(REDIRECTED))
@pytest.mark.parametrize("flags", ["", "-u"])
def test_a_process_with_redirected_streams_ends_in_one_line(redirected: str, flags: str) -> None:
    status, message = REDIRECTED[redirected]
    command = f"set -o pipefail; '{sys.executable}' {flags} -m segmenter --version {redirected}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert ended.returncode == status
    assert message in ended.stderr
    assert ended.stderr.count("\n") == bool(message)
