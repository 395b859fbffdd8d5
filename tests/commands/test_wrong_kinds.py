"""Every path of every command, given what it cannot be: one line, exit status 2, and no waiting."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from tests.helpers.command_line import refused
from tests.helpers.command_words import COMMANDS, arguments_of, leaves, words_for
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec
from tests.helpers.skips import NOT_HERE

GOOD = {
    "data": "data",
    "recipe": "recipe.yaml",
    "images": "data/images",
    "image": "photo.png",
    "source": "model.safetensors",
    "name": "hf:owner/name",
    "folder": "data",
    "out": "new.safetensors",
} | dict.fromkeys(("model", "a", "b", "from"), "model.safetensors")
NO_PATHS = {
    *("split", "temperature_split", "device", "protocol", "save", "patch", "class", "host"),
    *("name", "scales", "fps"),
}
OUTPUTS = {"out", "json", "report"}
MORE = {"prune": ["--depth", "1"], "predict": ["--runtime", "torch"], "train": ["--out", "new"]}
NO_INPUTS = ["pipe", "/dev/null", "missing", "photo.png/inside", "loop"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is right, and with what is wrong."""
    folder = tmp_path_factory.mktemp("kinds")
    write_data_set(folder / "data")
    save(Segmenter(make_spec()), folder / "model.safetensors")
    Image.new("RGB", (64, 64)).save(folder / "photo.png")
    (folder / "recipe.yaml").write_text("data: {root: data}\n")
    (folder / "empty").touch()
    (folder / "nothing").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    return folder


def paths() -> Iterator[tuple[str, str]]:
    """Every command with every argument that names a file or folder."""
    for command in COMMANDS:
        for name, argument in arguments_of(command).items():
            if name not in NO_PATHS and leaves(argument.hint) & {str, Path}:
                yield command, name


def line(command: str, argument: str, word: str) -> list[str]:
    """A command line in which all is right but one path."""
    given = {}
    for name, each in arguments_of(command).items():
        if each.required or name in {"model", "recipe", "images", argument}:
            given[name] = [word if name == argument else GOOD[name]]
    if command == "prepare" and argument != "name":
        given["name"] = ["ade20k"]
    more = list(MORE.get(command, []) if (command, argument) != ("train", "out") else [])
    if argument == "onnxruntime_web":
        more += ["--format", "web"]
    return [*words_for(command, given), *more]


INPUTS = [(command, name) for command, name in paths() if name not in OUTPUTS]


@pytest.mark.skipif(os.name != "posix", reason=f"{NOT_HERE}: named pipes and devices")
@pytest.mark.parametrize(("command", "argument"), INPUTS)
def test_an_input_of_a_wrong_kind(
    command: str,
    argument: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(place)
    many = (command, argument) == ("predict", "images")  # a pipe is a camera; one of many: status 3
    for word in ["missing", "photo.png/inside"] if many else NO_INPUTS:
        refused(capsys, *line(command, argument, word))


@pytest.mark.skipif(os.name != "posix", reason=f"{NOT_HERE}: named pipes and devices")
@pytest.mark.parametrize(("command", "argument"), [each for each in paths() if each[1] in OUTPUTS])
def test_an_output_of_a_wrong_kind(
    command: str,
    argument: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(place)
    for word in ("photo.png/inside", "pipe", "/dev/null"):
        more = [] if command == "train" else ["--overwrite"]
        refused(capsys, *line(command, argument, word), *more)
    assert Path("/dev/null").is_char_device()
    assert (place / "pipe").is_fifo()
