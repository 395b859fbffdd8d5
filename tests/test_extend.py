"""The three diffs of docs/how-to/extend.md apply to this version, and what they add works."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segmenter
from tests.helpers.data_sets import write_data_set
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

PACKAGE = Path(segmenter.__file__).parent
PAGE = REPOSITORY / "docs/how-to/extend.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason=f"{NOT_HERE}: the repository")

SHORT = {
    "train": "--schedule.steps 2 --schedule.warmup_steps 0 --batch_size 2 --workers 0 "
    "--augment.crop_size 56 --protocol.short_side 56",
    "evaluate": "--short-side 56",
}
"""Arguments that make a command of the page one of seconds."""


def blocks(language: str, section: str) -> list[str]:
    (text,) = re.findall(
        rf"^## {section}\n(.*?)(?=^## |\Z)",
        PAGE.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


SECTIONS = ["A decoder", "A published data set", "An output format"]


def extended(folder: Path, section: str) -> Path:
    """Copy the package and apply the diff of one section; gives the folder to import it from."""
    (diff,) = blocks("diff", section)
    copy = folder / "src" / "segmenter"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("bundled", "__pycache__"))
    (copy / "bundled").symlink_to(PACKAGE / "bundled")
    subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, text=True, check=True)
    return copy.parent


def write_camvid(folder: Path) -> None:
    """Two images and masks in each split."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind, shape, most in ((split, (60, 80, 3), 256), (f"{split}annot", (60, 80), 12)):
            (folder / kind).mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, most, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / kind / f"{number}.png")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_diff_of_the_page_applies(section: str, tmp_path: Path) -> None:
    extended(tmp_path, section)


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_what_a_diff_of_the_page_adds_works(section: str, tmp_path: Path) -> None:
    path = extended(tmp_path, section)
    write_data_set(tmp_path / "FOLDER")
    write_camvid(tmp_path / "CamVid")
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    commands = [
        [sys.executable, "-m", *line]
        for block in blocks("sh", section)
        for line in map(shlex.split, block.splitlines())
    ]
    for command in commands:
        command += shlex.split(SHORT.get(command[3], ""))
    commands += [[sys.executable, "-c", block] for block in blocks("python", section)]
    assert commands
    for command in commands:
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(path)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
