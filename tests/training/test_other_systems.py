"""On a system without fcntl and resource, such as Windows, commands work or say what they need."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from segmenter import UserError
from segmenter.training import run_folder
from segmenter.training.run_folder import own_folder
from tests.helpers.paths import REPOSITORY
from tests.helpers.runs import make_recipe

WITHOUT = """
import sys
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None
from segmenter.commands.main import main
sys.argv[0] = "segmenter"
for arguments in (["train", *sys.argv[1:]], ["serve"]):
    try:
        main(arguments)
    except SystemExit as ended:
        print("status", ended.code, file=sys.stderr)
"""


def test_train_works_without_fcntl_and_resource_and_serve_says_where_it_runs(
    data_set: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(data_set, data={"val": None}, schedule={"steps": 2}, log_every=1)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "recipe.yaml"), "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=REPOSITORY,
    )
    told = ended.stderr
    assert "Traceback" not in told
    assert (tmp_path / "run/last.safetensors").is_file()
    assert "step 2  loss" in told
    assert "memory" not in told.partition("step 2  loss")[2].splitlines()[0]
    assert "status 0" in told
    assert told.rstrip().endswith("status 2")
    assert "segmenter: serve runs on Linux and macOS" in told


def test_a_folder_that_windows_has_locked_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locking(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder, "fcntl", None)
    monkeypatch.setattr(run_folder, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with pytest.raises(UserError, match="in use by another process"), own_folder(tmp_path, print):
        pass
