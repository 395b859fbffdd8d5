"""What a command reads is never written over by it, also with --overwrite."""

from pathlib import Path

import pytest
from PIL import Image

from segmenter import commands
from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.helpers.models import make_spec


@pytest.mark.parametrize(
    "arguments",
    [
        "convert M M --overwrite",
        "convert other/../M M --overwrite",
        "prune M photo.png --depth 1 --out M --overwrite",
        "evaluate M data --json M --overwrite",
        "compare M M list.txt --json list.txt --overwrite",
        "check list.txt --json list.txt --overwrite",
        "check list.txt --json link --overwrite",
        "export M M --overwrite",
        "explain photo.png --model M --out . --overwrite",
    ],
)
def test_an_output_is_no_input(
    arguments: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other").mkdir()
    save(Segmenter(make_spec()), Path("M.safetensors"))
    Image.new("RGB", (64, 64)).save("photo.png")
    Path("list.txt").write_text("photo.png photo.png\n")
    Path("link").symlink_to("list.txt")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        commands.main(arguments.replace("M", "M.safetensors").split())
    error = capsys.readouterr().err
    assert (ended.value.code, error.count("\n")) == (2, 1), error
    assert "would be lost" in error or "could be lost" in error
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
