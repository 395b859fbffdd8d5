"""The command line: what works end to end, and how each mistake is answered."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segmenter
from segmenter.checkpoints import save
from segmenter.model import Segmenter
from segmenter.training import loop
from tests.helpers.command_line import TINY_RUN, refused, run
from tests.helpers.models import make_spec
from tests.helpers.paths import GOLDEN


def test_from_folder_to_model_to_scores_to_labels(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("train", "tiny.yaml", "--schedule.steps", "5", "--batch_size", "4") == 0
    model = capsys.readouterr().out.strip().splitlines()[-1]
    assert model == "runs/tiny/last.safetensors"
    assert run(*f"evaluate {model} data --split val --json e.json --report r".split()) == 0
    scores = json.loads((here / "e.json").read_text())
    assert 0 <= scores["miou"] <= 1
    assert set(scores["classes"]) == {"class-0", "class-1", "class-2"}
    assert (scores["runtime"], scores["precision"]) == ("torch", "float32")
    predict = f"predict data/images/val --model {model} --runtime torch --gallery".split()
    assert run(*predict) == 0
    labels = np.array(Image.open("predictions/photo-0_label.png"))
    assert labels.shape == (64, 64)
    assert labels.max() < 3
    assert "photo-0" in (here / "predictions" / "index.html").read_text()
    assert run(*predict) == 0


def test_training_from_a_folder_alone_holds_images_out_and_starts_from_a_model(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    for kind in ("images", "masks"):
        (here / "data" / kind / "val").rename(here / kind)
    few = ["--schedule.steps", "2", "--schedule.warmup_steps", "0", "--augment.crop_size", "32"]
    shallow = ["--optimizer.frozen_blocks", "0"]  # the recipe freezes more than this model has
    arguments = ["train", "--data", "data", "--from", "model.safetensors", *few, *shallow]
    assert run(*arguments, "--protocol.short_side", "64", "--workers", "0") == 0
    said = capsys.readouterr().err
    assert "data: 3 images to train on, 1 held out to evaluate on\n" in said
    assert "start     model.safetensors" in said
    spec = segmenter.load("runs/finetune/best.safetensors").spec
    assert spec.encoder.embed_dim == 64
    assert spec.recipe["data"]["root"] == "data"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict absent.jpg --model model.safetensors", "absent.jpg"),
        ("predict data --model absent.safetensors", "no model 'absent.safetensors'"),
        ("predict data --model tiny.yaml", "tiny.yaml"),
        ("predict data --model model.safetensors --out tiny.yaml", "tiny.yaml is a file"),
        ("predict data --model model.safetensors --ids sorce", "sorce"),
        ("predict data --model model.safetensors --opacty 1", "opacty"),
        ("predict data --model model.safetensors --device cuda:9", "cuda:9"),
        ("predict data --model model.safetensors --save label,cooc", "did you mean 'coco'"),
        ("predict data --model model.safetensors --save label --gallery", "add overlay to --save"),
        ("evaluate model.safetensors absent", "no such folder: absent"),
        ("evaluate model.safetensors data --split vall", "did you mean 'val'"),
        (
            "evaluate model.safetensors data --split val --stride 32",
            "--stride 32 is the distance of windows, and images are shown whole here; give",
        ),
        (
            "predict data --model model.safetensors --window 0 --stride 5",
            "whole here; omit it",
        ),
        (
            "evaluate model.safetensors data --whole --window 64",
            "--whole and --window 64 contradict",
        ),
        ("predict data --model model.safetensors --scales 0", "--scales: "),
        ("predict data --model model.safetensors --window 8", "less than one patch; this model"),
        ("predict data --model model.safetensors --short-side -1", "--short-side: "),
        ("predict data --model model.safetensors --device cpu:7", "there is: auto, cpu"),
        ("predict data --model model.safetensors --window 32 --stride 64", "--stride 64 is larger"),
        ("evaluate model.safetensors data --split val --json tiny.yaml", "tiny.yaml exists"),
        ("train absent.yaml", "no recipe 'absent.yaml'"),
        ("train tiny.yaml --schedule.step 3", "did you mean 'steps'"),
        ("train tiny.yaml --augment.scale 2", "augment.scale"),
        ("train tiny.yaml --data absent", "no such folder: absent"),
        ("train tiny.yaml --data.train nowhere", "data.train"),
        ("train tiny.yaml --resume", "nothing to resume"),
        ("train tiny.yaml --out tiny.yaml", "tiny.yaml is what this command reads as RECIPE"),
        ("train tiny.yaml --device gpu", "gpu"),
        ("trian tiny.yaml", 'Did you mean "train"'),
        ("train tiny.yaml --model y --model.decoder mask", "--model and --model.decoder"),
        ("train tiny.yaml --model y", "--model"),
        ("train tiny.yaml --model y --partial", "--model is a section"),
    ],
)
def test_a_mistake_is_answered_in_one_line_and_exit_status_2(
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
    arguments: str,
    message: str,
) -> None:
    assert message in refused(capsys, *arguments.split())


def test_a_image_that_cannot_be_read_is_named_and_the_others_are_done(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "data/images/val/broken.jpg").write_bytes(b"no image")
    assert run("predict", "data/images/val", "--model", "model.safetensors") == 3
    said = capsys.readouterr().out
    assert "broken.jpg" in said
    assert "4 of 5 done in" in said
    assert len(list((here / "predictions").glob("*_label.png"))) == 4


def test_a_image_whose_name_cannot_be_written_is_named_and_the_others_are_done(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    image = next((here / "data/images/val").iterdir())
    for name in ("back\\slash.png", "line\nbreak.png", "n" * 250 + ".png"):
        shutil.copy(image, here / "data/images/val" / name)
    assert run("predict", "data/images/val", "--model", "model.safetensors", "--gallery") == 3
    error = capsys.readouterr().err
    assert error.count("no result can have this name") == error.count("\n") == 3
    assert len(list((here / "predictions").glob("*_label.png"))) == 4


def test_what_is_saved_is_what_was_asked_for(here: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["predict", "data/images/val", "--model", "model.safetensors"]
    assert run(*command, "--save", "margins,coco", "--out", "out") == 0
    said = capsys.readouterr().out
    assert "all images: out/coco.json" in said
    assert "4 done in" in said
    names = {path.name for path in (here / "out").iterdir() if path.name[0] != "."}
    assert names == {"coco.json", *(f"photo-{number}_margins.png" for number in range(4))}
    assert len(json.loads((here / "out/coco.json").read_text())["images"]) == 4


@pytest.mark.slow
def test_ctrl_c_ends_predict_and_leaves_whole_files(here: Path) -> None:
    for number in range(500):
        shutil.copy(here / "data/images/val/photo-0.png", here / f"data/images/val/{number}.png")
    command = "predict data/images/val --model model.safetensors --runtime torch"
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "segmenter", *command.split()],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("[20/"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "")
    assert not list((here / "predictions").glob(".*.tmp*"))
    labels = list((here / "predictions").glob("*_label.png"))
    assert 20 <= len(labels) < 500
    for path in labels:
        Image.open(path).load()


def test_a_size_that_does_not_fit_into_memory_is_one_line(
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(Segmenter, "patch_logits", raising(error))
        said = refused(capsys, "evaluate", "model.safetensors", "data", "--split", "val")
        assert "photo-0" in said
        assert "does not fit into memory" in said


def raising(error: Exception) -> Callable:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_mask_value_without_a_class_is_named_with_the_yaml_that_would_fix_it(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    path = here / "data/masks/train/photo-1.png"
    labels = np.array(Image.open(path))
    labels[:2, :5] = 7
    Image.fromarray(labels).save(path)
    error = refused(capsys, "train", "tiny.yaml")
    for part in ("photo-1.png", "7", "10", "values: [7]"):
        assert part in error
    assert not (here / "runs").exists()


def test_a_mask_of_another_size_is_named(here: Path, capsys: pytest.CaptureFixture) -> None:
    Image.new("L", (10, 10)).save(here / "data/masks/train/photo-1.png")
    error = refused(capsys, "train", "tiny.yaml")
    assert "photo-1.png" in error
    assert "10 x 10" in error


def test_without_classes_train_prints_a_draft_and_other_commands_use_the_models(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "data/classes.yaml").unlink()
    assert run("train", "tiny.yaml") == 2
    said = capsys.readouterr()
    assert "has no classes.yaml" in said.err
    (here / "data/classes.yaml").write_text(said.out)
    assert run("train", "tiny.yaml") == 0
    (here / "data/classes.yaml").unlink()
    assert run(*["evaluate", "model.safetensors", "data", "--split", "val"]) == 0


def test_files_of_the_user_are_not_replaced_unless_asked(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "predictions").mkdir()
    mine = here / "predictions/photo-0_label.png"
    mine.write_text("mine")
    command = ["predict", "data/images/val", "--model", "model.safetensors"]
    assert "photo-0_label.png" in refused(capsys, *command)
    assert mine.read_text() == "mine"
    assert run(*command, "--overwrite") == 0
    assert mine.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_everything_and_says_so_in_the_exit_status(here: Path, number: int) -> None:
    command = [
        sys.executable,
        "-m",
        "segmenter",
        "train",
        "tiny.yaml",
        "--schedule.steps",
        "100000",
    ]
    process = subprocess.Popen(
        [*command, "--log_every", "1"], cwd=here, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step 1 "))
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "everything is saved" in said
    assert list((here / "runs/tiny/checkpoints").iterdir())


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [(["--help"], 0, ""), (["train", "--schedule.steps", "-5"], 2, "schedule.steps: input should")],
)
def test_help_and_a_wrong_recipe_do_not_wait_for_torch(
    arguments: list[str], status: int, said: str
) -> None:
    code = "import sys\nfrom segmenter import commands\n"
    code += f"try:\n    commands.main({arguments})\n"
    code += "except SystemExit as ended:\n    status = ended.code\n"
    code += "assert 'torch' not in sys.modules\nsys.exit(status)"
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == status
    assert said in ended.stderr


def test_a_run_never_touches_a_folder_that_holds_other_files(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    thesis = here / "mine/checkpoints/step-00000002/thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("precious")
    assert "mine holds files" in refused(capsys, "train", "tiny.yaml", "--out", "mine")
    assert thesis.read_text() == "precious"


def test_two_processes_do_not_write_into_one_run(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("train", "tiny.yaml") == 0
    with (here / "runs/tiny/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("train", "tiny.yaml", "--resume") == 2
    assert "is in use by another process" in capsys.readouterr().err


def test_a_run_that_died_before_its_first_checkpoint_can_be_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", die)
        with pytest.raises(RuntimeError, match="power cut"):
            run("train", "tiny.yaml")
    assert run("train", "tiny.yaml", "--resume") == 0
    assert (here / "runs/tiny/last.safetensors").is_file()


def test_classes_that_changed_since_are_another_run(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("train", "tiny.yaml") == 0
    classes = here / "data/classes.yaml"
    classes.write_text(
        classes.read_text().replace("[0]", "[x]").replace("[1]", "[0]").replace("[x]", "[1]")
    )
    assert run("train", "tiny.yaml", "--resume") == 2
    assert "holds another run" in capsys.readouterr().err


def test_evaluate_takes_only_the_split_that_was_asked_for(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    for kind in ("images", "masks"):
        (here / "data" / kind / "val").rename(here / kind)
    assert "no split 'vall'" in refused(
        capsys, "evaluate", "model.safetensors", "data", "--split", "vall"
    )
    assert run("train", "tiny.yaml") == 0
    arguments = ["evaluate", "runs/tiny/last.safetensors", "data", "--split", "val"]
    assert run(*arguments, "--json", "held.json") == 0
    held = json.loads((here / "held.json").read_text())
    assert (held["split"], held["num_images"]) == ("val (held out)", 1)


def test_a_val_split_that_is_named_but_not_there_is_not_held_out(
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
) -> None:
    error = refused(capsys, "train", "tiny.yaml", "--data.val", "vall")
    assert "no split 'vall', did you mean 'val'?" in error


def test_paths_on_the_command_line_are_taken_to_the_letter(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "data").rename(here / "my data #2")
    (here / "tiny.yaml").write_text(TINY_RUN.format(root="absent"))
    (here / "my data #2/start.safetensors").rename(here / "2024")
    arguments = ["--data", "my data #2", "--from", "2024"]
    assert run("train", "tiny.yaml", *arguments) == 0
    assert "my data #2: 4 images" in capsys.readouterr().err


def test_scales_are_given_one_after_the_other(here: Path) -> None:  # noqa: ARG001
    command = "evaluate model.safetensors data --split val --scales 0.75 1 1.25 --flip"
    assert run(*command.split()) == 0


def test_a_protocol_by_name_is_in_the_json_with_the_fields_changed(here: Path) -> None:
    command = "evaluate model.safetensors data --split val --protocol paddleseg --short-side 48"
    assert run(*command.split(), "--json", "scores.json") == 0
    used = json.loads((here / "scores.json").read_text())["protocol"]
    assert (used["name"], used["average"], used["short_side"]) == ("paddleseg", "logits", 48)


def test_an_unknown_protocol_names_the_known_ones(
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
) -> None:
    command = "evaluate model.safetensors data --split val --protocol padleseg"
    error = refused(capsys, *command.split())
    assert "did you mean 'paddleseg'" in error


@pytest.mark.slow
def test_an_error_of_ours_does_not_leave_workers_behind(here: Path) -> None:
    code = (
        "from segmenter import commands\nfrom segmenter.training import loop\n"
        "loop.train_step = lambda *_: 1 / 0\n"
        "commands.main(['train', 'tiny.yaml', '--workers', '2'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr


def test_equal_models_are_equal_files(tmp_path: Path, tiny_model: Segmenter) -> None:
    for name in "abcd":
        save(tiny_model, tmp_path / f"{name}.safetensors")
    assert len({(tmp_path / f"{name}.safetensors").read_bytes() for name in "abcd"}) == 1


def test_convert_says_what_it_found_and_writes_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = str(GOLDEN / "rstrudel_mask_distilled" / "checkpoint.pth")
    out = tmp_path / "model.safetensors"
    assert run("convert", checkpoint, str(out)) == 0
    said = capsys.readouterr().out
    for line in (
        "rstrudel/segmenter",
        "decoder   mask",
        "classes   11: class-0",
        "window 64, stride 64",
        "4 dropped: encoder.head_dist.weight, encoder.head_dist.bias, encoder.head.weight",
        "note      nothing says what the 11 classes are",
    ):
        assert line in said
    assert len(segmenter.load(out).spec.classes) == 11
    assert "exists" in refused(capsys, "convert", checkpoint, str(out))
    classes = tmp_path / "classes.yaml"
    classes.write_text(make_spec(11).classes.to_yaml().replace("class-3", "pavement"))
    arguments = ("convert", checkpoint, str(out), "--classes", str(classes), "--overwrite")
    assert run(*arguments) == 0
    assert segmenter.load(out).spec.classes.names[3] == "pavement"
    assert "package already" in refused(capsys, "convert", str(out), str(tmp_path / "b"))


def test_convert_takes_flags_in_place_of_a_missing_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint, out = tmp_path / "checkpoint.pth", str(tmp_path / "model.safetensors")
    shutil.copy(GOLDEN / "rstrudel_linear" / "checkpoint.pth", checkpoint)
    assert "variant.yml" in refused(capsys, "convert", str(checkpoint), out)
    one = ("--window", "64")
    needed = "--normalization vit|deit, --window and --stride"
    assert needed in refused(capsys, "convert", str(checkpoint), out, *one)
    two = (*one, "--stride", "32")
    missing = "--normalization is missing"
    assert missing in refused(capsys, "convert", str(checkpoint), out, *two)
    three = (*two, "--normalization", "vit")
    paddle = str(GOLDEN / "paddleseg_linear" / "model.pdparams")
    assert "for those alone" in refused(capsys, "convert", paddle, out, *three)
    assert "omit --window here" in refused(capsys, "convert", paddle, out, *one)
    assert run("convert", str(checkpoint), out, *three) == 0
    variant = str(GOLDEN / "rstrudel_linear" / "variant.yml")
    assert run("convert", str(checkpoint), out, "--variant", variant, "--overwrite") == 0


@pytest.mark.usefixtures("here")
def test_a_run_starts_from_a_published_model(capsys: pytest.CaptureFixture) -> None:
    start = GOLDEN / "paddleseg_mask" / "model.pdparams"
    text = TINY_RUN.format(root="data").replace("data/start.safetensors", str(start))
    Path("published.yaml").write_text(text)
    assert run("train", "published.yaml", "--out", "run") == 0
    assert "2 start fresh: decoder.project.*; " in capsys.readouterr().err


def test_another_encoder_needs_partial_which_the_recipe_of_the_run_keeps(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    wide = make_spec(mlp_ratio=2.0)
    save(Segmenter(wide).eval(), "data/start.safetensors", overwrite=True)
    deeper = ["train", "tiny.yaml", "--model.encoder", "vit_tiny_patch16_224"]
    assert "`--partial`" in refused(capsys, *deeper)
    path = "data/start.safetensors"
    assert f"nothing in {path} fits" in refused(capsys, *deeper, "--partial")
    save(Segmenter(make_spec(embed_dim=192, mlp_ratio=2.0)).eval(), path, overwrite=True)
    assert run(*deeper, "--model.encoder_depth", "2", "--partial") == 0
    said = capsys.readouterr().err
    names = "encoder.blocks.0-1.*"
    assert f"; 6 start fresh: {names}; 6 of {path} are left unused: {names}" in said
    assert "allow_partial_weights: true" in (here / "runs/tiny/recipe.yaml").read_text()


def test_results_beside_their_images_are_not_labelled_again(here: Path) -> None:
    command = ["predict", "data/images/val", "--out", "data/images/val"]
    for _ in range(2):
        assert run(*command, "--model", "model.safetensors") == 0
        assert len(list((here / "data/images/val").glob("*.*g"))) == 4 * 3
