"""What `segmenter train` says at its start, on its way and at its end."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import segmenter
from segmenter.data.trained_on import TRAINED_ON
from tests.helpers.command_line import refused, run
from tests.helpers.data_sets import write_data_set

FEW = ["train", "tiny.yaml", "--schedule.steps", "1"]


def add_test_split() -> None:
    write_data_set(Path("more"), splits=("train", "val", "test"))
    for kind in ("images", "masks"):
        Path("more", kind, "test").rename(Path("data", kind, "test"))


def subjects(said: str) -> list[str]:
    """The first words of what is said before the first step."""
    return [line.split()[0] for line in said.partition("step 1 ")[0].splitlines()]


@pytest.mark.usefixtures("here")
def test_a_run_begins_with_a_few_lines_that_say_what_it_is(capsys: pytest.CaptureFixture) -> None:
    assert run(*FEW, "--log_every", "1") == 0
    said = capsys.readouterr().err
    assert subjects(said) == [
        *("device:", "data", "classes", "model", "start", "precision", "steps", "size", "results")
    ]
    assert "data: 4 images to train on, 4 to evaluate on (val)\n" in said
    assert "3: class-0, class-1, class-2\n" in said
    assert "1 of 2 crops of 32x32, evaluated every 1000, saved every 500\n" in said
    assert "runs/tiny, with the full recipe in runs/tiny/recipe.yaml\n" in said
    assert max(map(len, said.splitlines())) < 200


@pytest.mark.usefixtures("here")
def test_images_of_splits_that_are_not_used_are_counted(capsys: pytest.CaptureFixture) -> None:
    add_test_split()
    assert run(*FEW) == 0
    assert "4 images to train on, 4 to evaluate on (val), 4 more in test\n" in (
        capsys.readouterr().err
    )


@pytest.mark.usefixtures("here")
def test_the_whole_recipe_is_printed_on_request_and_always_in_the_folder(
    capsys: pytest.CaptureFixture,
) -> None:
    assert run(*FEW) == 0
    assert "optimizer:" not in capsys.readouterr().err
    assert run(*FEW, "--print-recipe") == 0
    recipe = Path("runs/tiny/recipe.yaml").read_text()
    assert recipe in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_the_first_ten_steps_say_how_long_the_run_takes(capsys: pytest.CaptureFixture) -> None:
    assert run("train", "tiny.yaml", "--schedule.steps", "12", "--log_every", "4") == 0
    lines = capsys.readouterr().err.splitlines()
    (pace,) = (line for line in lines if line.startswith("after 10 steps: "))
    assert re.search(r" s a step, about \d+ s and 1 evaluation left, peak memory \d", pace)
    steps = [line for line in lines if line.startswith("step ") and "loss" in line]
    assert [line.endswith(" left") for line in steps] == [True, True, False]


@pytest.mark.usefixtures("here")
def test_a_run_ends_with_scores_by_class_and_commands_that_work(
    capsys: pytest.CaptureFixture,
) -> None:
    assert run("train", "tiny.yaml", "--evaluate_every", "1", "--name", "two words") == 0
    ended = capsys.readouterr()
    assert ended.out == "runs/two words/last.safetensors\n"
    _, _, end = ended.err.partition("best.safetensors on val (4 images), in per cent")
    for name in ("class-0", "class-1", "class-2"):
        assert name in end
    scores = segmenter.load("runs/two words/best.safetensors").spec.scores["val"]
    assert f"mIoU {100 * scores['miou']:.2f}, " in end
    assert "the best model, runs/two words/best.safetensors after step " in end
    commands = [shlex.split(line.partition(":")[2]) for line in end.splitlines()[-2:]]
    assert [words[:2] for words in commands] == [
        ["segmenter", "evaluate"],
        ["segmenter", "predict"],
    ]
    for words in commands:
        assert run(*words[1:]) == 0
    assert f"mIoU {100 * scores['miou']:.2f}  mean accuracy" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_without_a_split_to_evaluate_the_end_names_the_last_model(
    capsys: pytest.CaptureFixture,
) -> None:
    add_test_split()
    assert run(*FEW, "--data.val", "null") == 0
    said = capsys.readouterr().err
    assert "no split was evaluated; the model after the last step is runs/tiny/last" in said
    assert "evaluate: segmenter evaluate runs/tiny/last.safetensors data --split test\n" in said


@pytest.mark.usefixtures("here")
def test_a_second_run_gets_a_folder_of_its_own_and_the_newest_is_resumed(
    capsys: pytest.CaptureFixture,
) -> None:
    assert run(*FEW) == 0
    first = Path("runs/tiny/last.safetensors").read_bytes()
    assert run(*FEW, "--seed", "1") == 0
    assert Path("runs/tiny/last.safetensors").read_bytes() == first
    assert "runs/tiny-2, with the full recipe" in capsys.readouterr().err
    assert run(*FEW, "--seed", "1", "--resume") == 0
    ended = capsys.readouterr()
    assert "resuming runs/tiny-2, the newest of 2 runs; --out names another\n" in ended.err
    assert ended.out == "runs/tiny-2/last.safetensors\n"


@pytest.mark.usefixtures("here")
def test_a_folder_that_was_named_and_holds_a_run_stays_refused(
    capsys: pytest.CaptureFixture,
) -> None:
    assert run(*FEW, "--out", "mine") == 0
    capsys.readouterr()
    assert "mine holds a run" in refused(capsys, *FEW, "--out", "mine")


@pytest.mark.usefixtures("here")
def test_evaluate_says_how_many_of_its_images_were_trained_on(
    capsys: pytest.CaptureFixture,
) -> None:
    Path("model.safetensors").rename("away.safetensors")
    assert run(*FEW) == 0
    evaluate = ["evaluate", "runs/tiny/last.safetensors", "data", "--split"]
    capsys.readouterr()
    assert run(*evaluate, "val") == 0
    assert capsys.readouterr().err == ""
    assert run(*evaluate, "train") == 0
    assert capsys.readouterr().err == (
        "warning: 4 of 4 images were trained on; scores flatter runs/tiny/last.safetensors\n"
    )
    assert run("evaluate", "away.safetensors", "data", "--split", "train") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("here")
def test_a_run_whose_val_images_its_start_was_trained_on_says_so(
    capsys: pytest.CaptureFixture,
) -> None:
    assert run(*FEW, "--out", "one") == 0
    for kind in ("images", "masks"):
        train, val = (Path("data", kind, split, "photo-0.png") for split in ("train", "val"))
        train.rename("aside.png")
        val.rename(train)
        Path("aside.png").rename(val)
    capsys.readouterr()
    assert run(*FEW, "--from", "one/last.safetensors", "--out", "two") == 0
    assert "warning: 1 of 4 images were trained on; scores flatter the models of this run\n" in (
        capsys.readouterr().err
    )
    assert set(Path("one", TRAINED_ON).read_text().split()) < set(
        Path("two", TRAINED_ON).read_text().split()
    )


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_of_two_processes_one_speaks_and_they_share_a_new_folder() -> None:
    command = [sys.executable, "-m", "segmenter", *FEW, "--devices", "2", "--log_every", "1"]
    for folder in ("tiny", "tiny-2"):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
        assert ended.stdout == f"runs/{folder}/last.safetensors\n"
        assert len(subjects(ended.stderr.partition("step 1 ")[0])) == 9
        assert ", 2 processes, a copy of the model in each\n" in ended.stderr
        assert ended.stderr.count("evaluate: segmenter evaluate") == 1
        assert "\x1b" not in ended.stderr


@pytest.mark.usefixtures("here")
def test_a_run_is_resumed_with_its_own_recipe(capsys: pytest.CaptureFixture) -> None:
    assert run(*FEW, "--batch_size", "4", "--out", "mine") == 0
    last = Path("mine/last.safetensors").read_bytes()
    resume = ("train", "--resume", "--out", "mine")
    assert run(*resume) == 0
    assert "this run is finished: 1 of 1 steps are done" in capsys.readouterr().err
    assert Path("mine/last.safetensors").read_bytes() == last
    assert run(*resume, "--batch_size", "2") == 2
    assert "batch_size: 4 -> 2; undo the change" in capsys.readouterr().err
    assert run(*resume, "--schedule.steps", "2", "--allow-config-change") == 0
    assert run(*resume) == 0
    assert "this run is finished: 2 of 2 steps are done" in capsys.readouterr().err


@pytest.mark.parametrize("out", [(), ("--out", "nowhere")])
@pytest.mark.usefixtures("here")
def test_where_no_run_is_nothing_is_resumed(
    out: tuple[str, ...], capsys: pytest.CaptureFixture
) -> None:
    folder = out[1] if out else "runs/finetune"
    assert f"nothing to resume in {folder}: it holds no run" in refused(
        capsys, "train", "--resume", *out
    )


def test_a_run_of_one_image_names_a_command_that_works(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    for kind in ("images", "masks"):
        (here / kind).mkdir()
        (here / "data" / kind / "train/photo-0.png").rename(here / kind / "a.png")
    (here / "data/classes.yaml").rename(here / "classes.yaml")
    assert run(*FEW, "--data", ".") == 0
    (line,) = re.findall("evaluate: segmenter (.*)", capsys.readouterr().err)
    assert run(*shlex.split(line)) == 0
