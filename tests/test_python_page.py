"""The code of docs/tutorials/python.md runs, from top to bottom."""

import re
import shutil
from pathlib import Path

import pytest

from tests.helpers.data_sets import write_data_set
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

PAGE = REPOSITORY / "docs/tutorials/python.md"
SHORT = {
    '"steps": 500, "warmup_steps": 25': '"steps": 2, "warmup_steps": 0',
    "batch_size=8,": "batch_size=2, workers=0, "
    "augment={'crop_size': 56}, protocol={'short_side': 56},",
}
"""What makes a run of the page one of seconds."""

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason=f"{NOT_HERE}: the repository")


@pytest.mark.slow
def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "examples/church.jpg", "photo.jpg")
    shutil.copy(REPOSITORY / "tests/golden/mmseg_linear/checkpoint.pth", "checkpoint.pth")
    write_data_set(Path("fields"))
    text = PAGE.read_text(encoding="utf-8")
    for long, short in SHORT.items():
        assert text.count(long) == 1
        text = text.replace(long, short)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    assert {path.name for path in names["paths"]} == {  # type: ignore[union-attr]
        "photo_overlay.jpg",
        "photo_label.png",
    }
    assert "did you mean 'split'" in capsys.readouterr().out
