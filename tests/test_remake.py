"""The script that remakes the bundled model runs from an empty folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segmenter
from tests.helpers.data_sets import write_data_set
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

SCRIPT = REPOSITORY / "examples/remake_street.sh"
REHEARSAL = (
    "--schedule.steps 1 --schedule.warmup_steps 0 --batch_size 2 --workers 0 "
    "--augment.crop_size 56 --protocol.short_side 56 --precision float32"
)


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason=f"{NOT_HERE}: the repository")
@pytest.mark.skipif(shutil.which("sh") is None, reason=f"{NOT_HERE}: a shell")
def test_street_is_remade_from_a_data_set_alone(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "camvid", splits=("train", "val", "test"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["sh", str(SCRIPT), str(data), *REHEARSAL.split()]
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
    spec = segmenter.load(tmp_path / "runs/street/last.safetensors").spec
    assert spec.decoder.kind == "joined-class-tokens"
    assert spec.license == segmenter.load("street").spec.license
