"""Run commands in this process and look at what they print."""

import pytest

from segmenter import commands

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


RUN_EACH = """
import shlex, sys
from segmenter.commands.main import main

for line in sys.argv[1:]:
    try:
        main(shlex.split(line))
    except SystemExit as ended:
        print(f"status {ended.code or 0}: {line}", file=sys.stderr, flush=True)
"""
"""A script that runs each of its arguments as a command, and says how it ended."""
