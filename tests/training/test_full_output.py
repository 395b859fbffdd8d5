"""A run is not lost where nothing that it prints can be written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.runs import make_recipe
from tests.helpers.skips import NOT_HERE


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason=f"{NOT_HERE}: /dev/full")
def test_a_run_ends_with_its_last_model_though_both_outputs_are_full(
    data_set: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(data_set, data={"val": None}, schedule={"steps": 2}, log_every=1)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    arguments = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "segmenter", *arguments],
            stdout=full,
            stderr=full,
            timeout=900,
            cwd=REPOSITORY,
        )
    assert ended.returncode == 2  # the path of the model could not be told
    assert (tmp_path / "run/last.safetensors").is_file()
