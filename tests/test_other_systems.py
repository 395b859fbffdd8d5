"""What POSIX alone has is not needed, and text goes where only ASCII or cp1252 can be written."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import segmenter
from segmenter import UserError
from segmenter.training import run_folder
from segmenter.training.run_folder import own_folder
from tests.helpers.command_line import RUN_EACH

PACKAGE = Path(segmenter.__file__).parent
AS_ON_WINDOWS = Path(__file__).parent / "helpers" / "as_on_windows"
"""Holds a `sitecustomize.py`, which takes away what Windows lacks."""
POSIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
OF_EXTRAS = ("ray", "starlette")
"""Libraries that may be missing where every module is imported."""

IMPORT_EVERYTHING = f"""
import importlib, pkgutil, segmenter, sys
import segmenter.files.cache as module

sys.modules["ray"] = None  # where it is installed, it is this system's: it needs `resource`
assert not hasattr(module.os, "geteuid") and module.os.name == "nt"
for each in pkgutil.walk_packages(segmenter.__path__, "segmenter."):
    try:
        each.name.endswith(".__main__") or importlib.import_module(each.name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in {OF_EXTRAS}:
            raise
    print(each.name)
"""


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python in a process of its own."""
    path = os.pathsep.join([variables.pop("first_path", ""), str(PACKAGE.parent)]).strip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "100"} | variables
    return subprocess.run(
        [sys.executable, "-c", *arguments], capture_output=True, timeout=900, env=environment
    )


def statuses(ended: subprocess.CompletedProcess[bytes]) -> list[str]:
    lines = ended.stderr.decode("ascii", errors="replace").splitlines()
    return [line for line in lines if line.startswith("status ")]


@pytest.mark.slow
def test_every_module_can_be_imported_without_what_posix_alone_has() -> None:
    ended = python(IMPORT_EVERYTHING, first_path=str(AS_ON_WINDOWS))
    assert ended.returncode == 0, ended.stderr.decode()
    assert len(ended.stdout.split()) > 200


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_commands_work_without_what_posix_alone_has() -> None:
    lines = {
        "train tiny.yaml --out run --workers 2 --log_every 1": 0,
        "train tiny.yaml --out run --resume --workers 2 --log_every 1": 0,
        "train tiny.yaml --out two --devices 2 --device cpu": 0,
        "evaluate run/best.safetensors data --split val --report scores": 0,
        "predict data/images/val --model run/best.safetensors --out labels --gallery": 0,
        "predict data/images/val --model model.safetensors --out labels --gallery": 0,
        "predict data/images/val --model model.safetensors --out large --part 1 --parts 1": 0,
        "check data --workers 2 --report found": 0,
        "serve model.safetensors": 2,
    }
    ended = python(RUN_EACH, *lines, first_path=str(AS_ON_WINDOWS))
    told = ended.stderr.decode()
    assert statuses(ended) == [f"status {status}: {line}" for line, status in lines.items()], told
    assert "segmenter: serve runs on Linux and macOS" in told
    assert "step 3  loss" in told
    assert "memory" not in told.partition("step 3  loss")[2].splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_commands_write_where_letters_are_missing(here: Path, encoding: str) -> None:
    classes = here / "data/classes.yaml"
    named = (
        classes.read_text(encoding="utf-8").replace("class-1", "Straße").replace("class-2", "木")
    )
    classes.write_text(named, encoding="utf-8")
    lines = [
        "train --help",
        "check data --report found",
        "train tiny.yaml --out run",
        "evaluate run/best.safetensors data --split val --report scores",
        "predict data/images/val --model run/best.safetensors --out labels --gallery",
    ]
    ended = python(
        RUN_EACH,
        *lines,
        PYTHONIOENCODING=encoding,
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        LC_ALL="C",
    )
    assert statuses(ended) == [f"status 0: {line}" for line in lines], ended.stderr.decode(encoding)
    told = ended.stdout.decode(encoding)
    assert "\\u6728" in told, "a letter that cannot be written is shown by its number"
    assert "Stra" in told
    assert "\\u25" not in told, "a line of a table was drawn in letters that are missing"
    assert "\\u2" not in told


def test_a_run_folder_that_cannot_be_locked_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(*_: int, **__: bool) -> bool:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(run_folder.filelock, "lock_descriptor", without_locks)
    said: list[str] = []
    with own_folder(tmp_path, said.append):
        pass
    assert "cannot be locked (Function not implemented)" in said[0]


def test_a_run_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        own_folder(tmp_path, print),
        pytest.raises(UserError, match="in use by another process"),
        own_folder(tmp_path, print),
    ):
        pass


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def opens_text_as_the_system_likes(call: ast.Call) -> bool:
    """Whether a call reads or writes text in the encoding of the system, which differs."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    names = {keyword.arg for keyword in call.keywords}
    if name in {"read_text", "write_text"}:
        return "encoding" not in names and not (name == "read_text" and call.args)
    is_open = name == "open" and (isinstance(function, ast.Name) or len(call.args) <= 1)
    modes = [each.value for each in call.args if isinstance(each, ast.Constant)]
    is_text = all(isinstance(mode, str) and set(mode) <= set("rwxat+") for mode in modes)
    return is_open and is_text and bool(modes) and "encoding" not in names


READS_NUMBERS_OF_LINUX = {"memory.py", "decode_process.py"}
"""They read text of /proc and /sys, which is ASCII."""


def test_text_is_read_and_written_in_an_encoding_that_is_named() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.name not in READS_NUMBERS_OF_LINUX
        for call in calls(path)
        if opens_text_as_the_system_likes(call)
    }
    assert not found


def test_what_posix_alone_has_is_imported_where_its_absence_is_caught() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                names = {node.module}
            assert POSIX_MODULES.isdisjoint(names), f"{path}: {names}"
