"""A command that SIGTERM ends leaves no scratch folder."""

import inspect
import os
import signal
import sys
from pathlib import Path

import pytest

from segmenter.commands import main as command_line
from segmenter.data.new_data_set import aside


def test_sigterm_removes_what_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        with aside(tmp_path / "out") as folder:
            (folder / "half").touch()
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # while what is unfinished is removed

    bound = inspect.signature(command).bind()
    monkeypatch.setattr(sys.modules["segmenter.commands.main"], "parse", lambda _: (command, bound))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        command_line([])
    assert ended.value.code == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
