"""What the package installs: extras, their names in errors, and what works without any."""

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import segmenter
from segmenter.files.optional import install_lines
from tests.floor import constraints
from tests.helpers.command_line import RUN_EACH, run
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

PACKAGE = Path(segmenter.__file__).parent
WITHOUT_EXTRAS = Path(__file__).parent / "helpers" / "without_extras"
"""Holds a `sitecustomize.py`, which hides the libraries of all extras."""

in_the_repository = pytest.mark.skipif(
    not (REPOSITORY / "pyproject.toml").is_file(), reason=f"{NOT_HERE}: the repository"
)


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run_without_extras(*lines: str) -> str:
    """Run commands in a process that has no library of an extra; gives what it says."""
    path = os.pathsep.join([str(WITHOUT_EXTRAS), str(PACKAGE.parent)])
    ended = subprocess.run(
        [sys.executable, "-c", RUN_EACH, *lines],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=900,
        env=os.environ | {"PYTHONPATH": path},
    )
    return ended.stderr


@in_the_repository
def test_all_installs_every_extra_but_that_for_development() -> None:
    extras = project()["optional-dependencies"]
    (line,) = extras["all"]
    named = re.fullmatch(r"vit-segmenter\[([\w,]+)\]", line)
    assert named is not None
    assert named[1].split(",") == sorted(extras.keys() - {"all", "dev", "docs"})


@in_the_repository
def test_the_distribution_of_an_error_is_this_one() -> None:
    name = project()["name"]
    assert install_lines("geo").startswith(f"pip install '{name}[geo]'")
    assert install_lines("geo").endswith("(in a clone: pip install '.[geo]')")


@in_the_repository
def test_the_version_of_the_command_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture,
) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"{project()['version']}\n"


@in_the_repository
def test_every_extra_that_an_error_names_exists() -> None:
    extras = project()["optional-dependencies"]
    named = {
        extra
        for path in PACKAGE.rglob("*.py")
        for extra in re.findall(r'\bextra="(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len(named - {"forbid"}) > 5
    assert named - {"forbid", "allow", "ignore"} <= set(extras)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_commands_work_without_any_extra() -> None:
    lines = [
        "train tiny.yaml --out run",
        "evaluate run/best.safetensors data --split val --report scores",
        "compare run/best.safetensors model.safetensors data --split val",
        "predict data/images/val --model run/best.safetensors --out labels --gallery",
        "check data --report found",
        "explain data/images/val/photo-0.png --model model.safetensors --out seen",
        "prune model.safetensors data/images/val --depth 1 --out small.safetensors",
        "benchmark model.safetensors --size 64 64",
        "card model.safetensors",
        "recipes",
        "models",
    ]
    told = run_without_extras(*lines)
    assert re.findall(r"^status .*", told, flags=re.MULTILINE) == [
        f"status 0: {line}" for line in lines
    ], told


@pytest.mark.slow
def test_what_needs_an_extra_names_it(here: Path) -> None:
    (here / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    encoder = "--model.encoder vit_tiny_patch16_224 --model.weights timm:vit_tiny_patch16_224"
    lines = {
        "export model.safetensors model.onnx": "export",
        "export model.safetensors model.xml --format openvino": "fast",
        "serve model.safetensors": "serve",
        "push model.safetensors hf:owner/name": "hub",
        "predict data/images/val --model hf:owner/name --out labels": "hub",
        "predict film.mp4 --model model.safetensors --out labels": "video",
        "predict data/images/val --model model.safetensors --out l --runtime openvino": "fast",
        "predict data/images/val --model model.safetensors --out l --runtime onnxruntime": "export",
        f"train tiny.yaml --out timm {encoder}": "timm",
        "train tiny.yaml --out tracked --track [tensorboard]": "track",
    }
    told = run_without_extras(*lines)
    for line, extra in lines.items():
        (said,) = re.findall(rf"^(.*)\nstatus 2: {re.escape(line)}$", told, flags=re.MULTILINE) or [
            told
        ]
        assert install_lines(extra) in said, line


@in_the_repository
def test_every_library_has_a_lower_bound_and_none_an_upper_one() -> None:
    given = project()
    lines = [*given["dependencies"], *itertools.chain(*given["optional-dependencies"].values())]
    libraries = [line for line in lines if not line.startswith("vit-segmenter[")]
    bounds = [line.partition(";")[0] for line in libraries]  # without the systems it is for
    assert [line for line in bounds if not re.fullmatch(r"[\w-]+(\[[\w,]+\])?>=[\d.]+", line)] == []


@in_the_repository
def test_the_floor_is_every_lower_bound_of_the_package() -> None:
    text = '[project]\ndependencies = ["b-c>=3", "a[x]>=1.2"]\n'
    assert constraints(text) == ["a==1.2.*", "b-c==3.*"]
    whole = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert len(constraints(whole)) == len(project()["dependencies"])


@in_the_repository
def test_the_tests_of_the_floor_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^FLOOR_TESTS := (.*)$", makefile, flags=re.MULTILINE)
    paths = [word for word in line.split() if word.startswith("tests/")]
    assert len(paths) > 5
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
