"""The commands and the Python of every page can be typed; the cheap ones are run."""

import ast
import importlib.util
import itertools
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter import commands
from segmenter.checkpoints import bundled, save
from segmenter.classes import Classes
from segmenter.errors import EarlyExit
from segmenter.model import ModelSpec, Segmenter
from segmenter.recipe import packaged_recipes
from tests.helpers.command_line import run
from tests.helpers.data_sets import write_data_set
from tests.helpers.documented import PAGES, Shown, blocks, shown
from tests.helpers.models import make_spec
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "docs").is_dir(), reason=f"{NOT_HERE}: the repository"
)

SHOWN = shown("segmenter")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 100


@pytest.mark.parametrize("command", SHOWN, ids=lambda each: f"{each.page}: {each.line}")
def test_a_command_of_a_page_is_one_of_ours(command: Shown) -> None:
    commands.parse([word.replace("$SLURM_ARRAY_TASK_ID", "1") for word in command.words[1:]])


# What the pages show of other programs


@pytest.mark.parametrize("command", shown("make"), ids=lambda each: each.line)
def test_make_knows_its_targets(command: Shown) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in command.words[1:] if "=" not in word]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize("command", shown("pip"), ids=lambda each: f"{each.page}: {each.line}")
def test_what_pip_installs_is_an_extra_of_ours(command: Shown) -> None:
    for word in command.words[2:]:
        extras = re.fullmatch(r"(?:\.|vit-segmenter)\[([\w,]+)\]", word)
        assert extras is None or set(extras[1].split(",")) <= set(EXTRAS), word


@pytest.mark.parametrize("command", shown("python"), ids=lambda each: f"{each.page}: {each.line}")
def test_scripts_and_their_flags_exist(command: Shown) -> None:
    name, *arguments = command.words[1:]
    if name == "-m":
        assert arguments[0] == "http.server" or importlib.util.find_spec(arguments[0])
        return
    script = REPOSITORY / name
    flags = [word for word in arguments if word.startswith("--")]
    source = script.read_text(encoding="utf-8")
    assert [flag for flag in flags if f'"{flag}"' not in source] == []


@pytest.mark.parametrize("command", shown("curl"), ids=lambda each: f"{each.page}: {each.line}")
def test_services_are_asked_on_routes_that_exist(command: Shown) -> None:
    (address,) = (word for word in command.words if word.startswith("localhost:8000"))
    routes = (REPOSITORY / "src/segmenter/extras/serving/app.py").read_text(encoding="utf-8")
    assert f'"/{address.partition("/")[2]}"' in routes


# Python


def python_blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.relative_to(REPOSITORY)}-{number}", block)
        for page in PAGES
        for number, block in enumerate(blocks(page, "python"))
    ]


def imported(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]


@pytest.mark.parametrize("block", [pytest.param(block, id=name) for name, block in python_blocks()])
def test_what_the_python_of_a_page_imports_of_ours_exists(block: str) -> None:
    for module, names in imported(ast.parse(block)):
        if module.partition(".")[0] == "segmenter":
            found = importlib.import_module(module)
            assert [name for name in names if not hasattr(found, name)] == []


# Run for real, with a tiny model and tiny data in the places that the pages name

CLASSES = Classes.model_validate(
    {
        "ignore": [255],
        "classes": [
            {"name": name, "color": [40 * index, 90, 200 - index], "values": [index]}
            for index, name in enumerate(("road", "car", "sky"))
        ],
    }
)
DATA_WORDS = ("FOLDER", "DATA", "data/camvid", "forty", "mine")
IMAGE_FOLDERS = ("photos", "PHOTOS", "examples", "FOLDER/images", "mine/images")
MODEL_WORDS = ("MODEL", "A", "B")
OUTPUT_FLAGS = ("--out", "--report", "--json")
ELSEWHERE = {
    "hf:": "a hub",
    "onnxruntime-web": "a download",
    "--format web": "a download",
    "/dev/video0": "a camera",
    "--device cuda": "a GPU: make test-gpu",
    "ade20k": "a published data set",
    "cityscapes": "a published data set",
    "camvid:": "a diff of the page, which tests/test_extend.py applies",
    "npy": "a diff of the page, which tests/test_extend.py applies",
    "mlp": "a diff of the page, which tests/test_extend.py applies",
    "drives": "lists that a script of the page writes",
    "check fields": "images of several bands: tests/commands/test_bands.py",
    "new/*.tif": "images of several bands: tests/commands/test_bands.py",
    "segmenter fit": "tests/commands/test_fit.py",
    "segmenter convert": "files of another code base",
    "segmenter prepare": "exports of annotation tools: tests/data/annotations",
    "segmenter serve": "runs until it is stopped",
    "segmenter suggest": "tests/extras/suggesting",
    "segmenter label": "runs until it is stopped: tests/extras/labelling",
    "segmenter train": "takes minutes; read up to its recipe below",
    "evaluate maps": "needs the maps of the line before: tests/evaluation/test_saved_maps.py",
    "evaluate MAPS": "tests/evaluation/test_saved_maps.py",
    "{}": "a layout of its own: tests/commands/test_pairing.py",
    "--threshold": "a model of one class: tests/commands/test_evaluate.py",
    "check data/fields": "tiles of maps: tests/data/maps",
    "field.tif": "tests/predicting/test_rasters.py",
    "new.tif": "tests/predicting/test_rasters.py",
    "traffic.mp4": "tests/commands/test_videos.py",
    "frame-%04d": "tests/commands/test_videos.py",
    "$SLURM_ARRAY_TASK_ID": "a cluster",
}
"""What is not run here, by words in the command, and where it is tested or why not."""


def is_run(command: Shown) -> bool:
    line = " ".join(command.words)
    return not any(word in line for word in ELSEWHERE)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return make_spec(depth=12).model_copy(update={"classes": CLASSES})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: ModelSpec) -> Path:
    """A working directory; the names of the bundled models mean a tiny one."""
    for name in bundled.bundled_models():
        write_model(tmp_path / f"bundled/{name}.safetensors", spec)
    for path in bundled.bundled_encoders().values():
        (tmp_path / "bundled" / path.name).symlink_to(path)
    monkeypatch.setattr(bundled, "_FOLDER", tmp_path / "bundled")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def write_image(path: Path, size: tuple[int, int] = (64, 80)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def bring(words: list[str], spec: ModelSpec) -> list[str]:
    """Write what a command reads, under the names that the page gives it."""
    words = [
        word.replace("/data/photos", "photos").replace("/data/labels", "made") for word in words
    ]
    for before, word in itertools.pairwise(words):
        path = Path(word)
        if before in OUTPUT_FLAGS or path.exists():
            continue
        if word in DATA_WORDS:
            write_data_set(path, num_images=2, splits=("train", "val", "test"))
            (path / "classes.yaml").write_text(CLASSES.to_yaml(), encoding="utf-8")
            if "--draft" in words:
                (path / "classes.yaml").unlink()
        elif word in IMAGE_FOLDERS or word.startswith(("data/camvid/images", "DATA/images")):
            write_image(path / "image-1.png")
            write_image(path / "image-2.png")
        elif path.suffix in {".jpg", ".png"}:
            write_image(path, (224, 512))
        elif word in MODEL_WORDS or path.suffix == ".safetensors":
            write_model(path, spec)
        elif path.suffix == ".onnx" and words[1] != "export":
            write_model(Path("of.safetensors"), spec)
            assert run("export", "of.safetensors", word) == 0
    return words


def write_model(path: Path, spec: ModelSpec) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save(Segmenter(spec).eval(), path)


@pytest.mark.slow
@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "command", [*filter(is_run, SHOWN)], ids=lambda each: f"{each.page}: {each.line}"
)
def test_a_command_of_a_page_runs(
    command: Shown, spec: ModelSpec, capsys: pytest.CaptureFixture
) -> None:
    words = bring(command.words, spec)
    if words[1] == "export":
        Path(words[3]).parent.mkdir(parents=True, exist_ok=True)
    status = run(*words[1:])
    assert status == 0, capsys.readouterr().err


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "command",
    [
        each
        for each in SHOWN
        if each.words[1] == "train" and not {"mlp", "--resume"} & {*each.words}
    ],
    ids=lambda each: f"{each.page}: {each.line}",
)
def test_a_training_of_a_page_has_a_recipe(
    command: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The recipe is read and changed as the command says; the training is not begun.

    What resumes a run needs one: tests/training/test_resume.py.
    """

    class NotBegun(EarlyExit):
        exit_status = 0

    def run_training(*_: object, **__: object) -> None:
        raise NotBegun("")

    monkeypatch.setattr("segmenter.api.run_training.run_training", run_training)
    shutil.copy(packaged_recipes()["finetune"], "mine.yaml")
    words = ["street-linear" if word == "RECIPE" else word for word in command.words]
    for folder in (
        "FOLDER",
        "data/camvid",
        "data/mine",
        "data/ADEChallengeData2016",
        "runs",
        "mine",
    ):
        Path(folder).mkdir(parents=True, exist_ok=True)
    assert run(*words[1:]) == 0, capsys.readouterr().err
