"""Where memory is full, a command ends with one line that says what to do."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.helpers.command_line import refused
from tests.helpers.models import make_spec
from tests.helpers.small_memory import small_memory


@pytest.mark.parametrize(
    "command",
    [
        "benchmark model.safetensors --size 32 32 --runtime torch",
        "explain image.png --model model.safetensors",
    ],
)
def test_a_lack_of_memory_is_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Segmenter(make_spec(3, decoder="mask")), "model.safetensors")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("image.png")
    with small_memory(0):
        message = refused(capsys, *command.split())
    assert "memory" in message
    assert "smaller" in message
