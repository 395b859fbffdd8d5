"""In CI a skip fails, unless nothing can be installed to mend it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

MODULES = {
    "library": 'import pytest\npytest.importorskip("no_such_library")\n',
    "cases": f"""
import pytest

def test_of_a_missing_browser() -> None:
    pytest.skip("needs a browser")

def test_of_missing_data() -> None:
    pytest.skip("{NOT_HERE}: the data")

def test_that_runs() -> None:
    pass
""",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "summary"),
    [
        ({"SEGMENTER_CI": "1"}, "1 failed, 1 passed, 1 skipped, 1 error"),
        ({}, "1 passed, 3 skipped"),
    ],
)
def test_a_skip_for_want_of_a_library_fails_in_ci_alone(
    tmp_path: Path, environment: dict[str, str], summary: str
) -> None:
    for name, content in MODULES.items():
        (tmp_path / f"test_{name}.py").write_text(content)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    inherited = {name: each for name, each in os.environ.items() if name != "SEGMENTER_CI"}
    ended = subprocess.run(
        [*command, "--continue-on-collection-errors", "--rootdir", str(tmp_path), str(tmp_path)],
        env=inherited | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert summary in ended.stdout, ended.stdout + ended.stderr
