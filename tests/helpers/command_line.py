"""Run commands in this process and look at what they print."""

from pathlib import Path

import pytest

from segmenter import commands
from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.conftest import make_spec, write_data_set

TINY_RUN = """
name: tiny
model: {{weights: {root}/start.safetensors, decoder: linear}}
data: {{root: {root}}}
augment: {{crop_size: 32, color: none}}
optimizer: {{name: adamw, lr: 0.001}}
schedule: {{steps: 3}}
batch_size: 2
workers: 0
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a data set, a model of its classes and a recipe."""
    monkeypatch.chdir(tmp_path)
    write_data_set(Path("data"))
    save(Segmenter(make_spec()).eval(), "model.safetensors")
    save(Segmenter(make_spec()).eval(), "data/start.safetensors")
    Path("tiny.yaml").write_text(TINY_RUN.format(root="data"))
    return tmp_path


def run(*arguments: str) -> int:
    """The exit status of `segmenter ARGUMENTS`."""
    with pytest.raises(SystemExit) as ended:
        commands.main(arguments)
    return ended.value.code or 0


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """The one line that answers a mistake."""
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("segmenter: ")
    assert error.count("\n") == 1
    return error
