"""What README says can be typed, can be typed."""

import re
import shlex
from pathlib import Path
from types import UnionType
from typing import get_args

import pytest

import segmenter
from segmenter import commands
from segmenter.checkpoints.bundled import bundled_models
from segmenter.model.architectures import ARCHITECTURES
from segmenter.model.decoders import DecoderSpec
from tests.helpers.data_sets import write_data_set
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [
    line.split("#")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("segmenter ")
]

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "examples").is_dir(), reason=f"{NOT_HERE}: the repository"
)


def test_readme_begins_with_the_two_commands() -> None:
    first = blocks("sh")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_only_flags_that_exist(command: str) -> None:
    commands.app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    ("name", "floor", "megabytes"), [("street", 0.71, 55), ("street-tiny", 0.64, 20)]
)
def test_a_bundled_model_states_its_terms_origin_and_score(
    name: str, floor: float, megabytes: int
) -> None:
    path = bundled_models()[name]
    spec = segmenter.load(path).spec
    assert "CC BY-NC" in spec.license
    assert "CamVid" in spec.provenance
    score = spec.scores["camvid-test"]["miou"]
    assert score >= floor
    shown = f"{100 * score:.2f}"
    card = REPOSITORY / "docs/reference" / f"{name}.md"
    assert shown in README
    assert shown in card.read_text(encoding="utf-8")
    assert f"`{name}`" in (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
    assert spec.recipe is not None
    assert path.stat().st_size <= megabytes * 2**20


def test_the_numbers_of_encoders_and_decoders_are_those_of_the_tables() -> None:
    (kinds,) = (each for each in get_args(DecoderSpec) if isinstance(each, UnionType))
    assert f"**{len(ARCHITECTURES)} encoders and " in README
    assert len(get_args(kinds)) == 7
    assert "and seven decoders**" in README


@pytest.mark.slow
def test_the_python_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["segmentation"].shares["sky"] == pytest.approx(0.547, abs=0.02)
    assert (tmp_path / "labels" / "road_label.png").is_file()


@pytest.mark.slow
def test_the_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    for image in sorted((REPOSITORY / "examples").glob("*.jpg"))[:3]:  # more take minutes each
        (tmp_path / "examples" / image.name).symlink_to(image)
    write_data_set(tmp_path / "FOLDER")
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        if arguments[0] == "serve" or "--onnxruntime-web" in arguments:
            continue  # runs until it is told to stop; needs a download
        if arguments[0] == "train":
            if "--data" not in arguments:
                continue  # a recipe of hours, on data that is not here
            short = "--schedule.steps 2 --schedule.warmup_steps 0 --batch_size 2 --workers 0"
            small = "--augment.crop_size 56 --protocol.short_side 56"
            arguments += shlex.split(f"{short} {small}")
        with pytest.raises(SystemExit) as ended:
            commands.main(arguments)
        assert not ended.value.code, (command, capsys.readouterr().err)
