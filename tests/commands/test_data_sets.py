"""Published data sets on the command line: scored, trained on, prepared, and each mistake."""

import hashlib
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.class_lists import read_class_list
from segmenter.data import published as sets
from segmenter.model import Segmenter
from tests.helpers.command_line import refused, run
from tests.helpers.context_annotations import annotation
from tests.helpers.downloads import Server
from tests.helpers.models import make_spec
from tests.helpers.published_trees import SPLITS, write_tree


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small published data sets and a random model for ADE20K."""
    monkeypatch.chdir(tmp_path)
    spec = make_spec(num_classes=150, depth=1)
    classes = read_class_list("ade20k")
    save(Segmenter(spec.model_copy(update={"classes": classes})).eval(), "model.safetensors")
    write_tree("ade20k", Path("ade"), values=[0, 1, 150])
    return tmp_path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets of which two images a split are all, with archives of unknown hash."""
    for name, published in sets.SETS.items():
        archives = tuple(replace(archive, sha1=None) for archive in published.archives)
        changed = replace(published, counts={"train": 2, "val": 2}, archives=archives)
        monkeypatch.setitem(sets.SETS, name, changed)


def zip_folder(folder: Path, path: Path, inside: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, f"{inside}{file.relative_to(folder).as_posix()}")


def test_a_published_data_set_is_scored_on_val(here: Path) -> None:
    command = ["evaluate", "model.safetensors", "ade20k:ade"]
    assert run(*command, "--json", "scores.json") == 0
    scores = json.loads((here / "scores.json").read_text())
    assert (scores["data"], scores["split"], scores["num_images"]) == ("ade20k:ade", "val", 2)
    assert len(scores["classes"]) == 150
    # Of 256 pixels an image, one is wall, one is flag, and 0 is ignored.
    assert np.array(scores["confusion"]).sum() == 2 * 2
    assert run(*command, "--split", "training") == 0


def test_a_published_data_set_is_trained_on(here: Path, capsys: pytest.CaptureFixture) -> None:
    few = "--schedule.steps 2 --schedule.warmup_steps 0 --augment.crop_size 16 --workers 0"
    small = (
        "--protocol.short_side 16 --model.encoder_depth 1 --batch_size 2 --from model.safetensors "
        "--optimizer.frozen_blocks 0"
    )
    assert run(*f"train --data ade20k:ade {few} {small}".split()) == 0
    assert "ade20k:ade: 2 images to train on, 2 to evaluate on (val)" in capsys.readouterr().err
    assert "root: ade20k:ade\n" in (here / "runs/finetune/recipe.yaml").read_text()


def test_a_submission_is_written_and_nothing_beside_it(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = "predict ade/images/validation --model model.safetensors --submission ade20k"
    assert run(*arguments.split(), "--runtime", "torch", "--out", "upload") == 0
    assert sorted(path.name for path in (here / "upload").glob("[!.]*")) == [
        "ADE_val_00000001.png",
        "ADE_val_00000002.png",
    ]
    assert np.array(Image.open("upload/ADE_val_00000001.png")).min() >= 1
    assert "omit --gallery" in refused(capsys, *arguments.split(), "--gallery")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate model.safetensors ade2k:ade", "did you mean 'ade20k'?; there are ade20k, city"),
        ("evaluate model.safetensors ade20k:.", "has no folder 'images/training'; ade20k is laid"),
        (
            "evaluate model.safetensors ade20k:ade --split test",
            "no split 'test'; it has train, val",
        ),
        ("evaluate model.safetensors ade20k:nowhere", "no such folder: nowhere"),
        ("evaluate model.safetensors C:\\ade", "no such folder: C:\\ade"),
        ("train --data pascal_contxt:ade", "did you mean 'pascal_context'?"),
        ("train --data cityscapes:ade", "has no folder 'leftImg8bit/train'"),
        ("prepare ade2k data", "did you mean 'ade20k'?"),
        ("prepare ade20k data", "put ADEChallengeData2016.zip into data"),
        ("prepare cityscapes data --download", "log in at https://www.cityscapes-dataset.com"),
        ("predict ade --model model.safetensors --submission cityscapes", "150 classes are not"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: str, message: str, here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert message in refused(capsys, *arguments.split())
    assert not (here / "data").exists()


@pytest.mark.usefixtures("small")
def test_an_archive_is_downloaded_unpacked_and_checked(
    here: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    zip_folder(here / "ade", here / "made/set.zip", "ADEChallengeData2016/")
    server.content = (here / "made/set.zip").read_bytes()
    small = sets.SETS["ade20k"]
    known = hashlib.sha1(server.content).hexdigest()
    archive = replace(small.archives[0], url=server.url, sha1=known)
    monkeypatch.setitem(sets.SETS, "ade20k", replace(small, archives=(archive,)))
    server.cut_after = 1000
    command = ["prepare", "ade20k", "d", "--download"]
    assert "run the same command again" in refused(capsys, *command)
    server.cut_after = None
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert hashlib.sha256(server.content).hexdigest() in said
    assert "ade20k:d/ADEChallengeData2016: 2 train, 2 val; the terms stand at http" in said
    assert run("evaluate", "model.safetensors", "ade20k:d/ADEChallengeData2016") == 0

    asked = len(server.asked)
    assert run(*command) == 0
    assert len(server.asked) == asked, "what is whole is not fetched again"


@pytest.mark.usefixtures("small")
def test_archives_at_hand_are_unpacked_into_their_folders(here: Path) -> None:
    coco = write_tree("coco_stuff", here / "coco")
    for split in ("train2017", "val2017"):
        zip_folder(coco / "images" / split, here / f"d/{split}.zip", f"{split}/")
    zip_folder(coco / "annotations", here / "d/stuffthingmaps_trainval2017.zip", "")
    assert run("prepare", "coco_stuff", "d") == 0
    assert (here / "d/images/val2017/000000000139.jpg").is_file()
    city = write_tree("cityscapes", here / "city")
    for part in ("leftImg8bit", "gtFine"):
        zip_folder(city / part, here / f"c/{part}_trainvaltest.zip", f"{part}/")
    assert run("prepare", "cityscapes", "c") == 0


@pytest.mark.usefixtures("small")
def test_pascal_context_gets_its_masks_from_the_annotations(here: Path) -> None:
    entries, annotations = [], []
    for split, names in SPLITS["pascal_context"].items():
        for name in names:
            number = int(name.replace("_", ""))
            entries.append({"image_id": number, "file_name": f"{name}.jpg", "phase": split})
            annotations.append(annotation(number, 284, np.ones((16, 16), dtype=bool)))
    images = [entry | {"height": 16, "width": 16} for entry in entries]
    (here / "d").mkdir()
    text = json.dumps({"images": images, "annos_segmentation": annotations})
    (here / "d/trainval_merged.json").write_text(text)
    tree = write_tree("pascal_context", here / "tree")
    with tarfile.open(here / "d/VOCtrainval_03-May-2010.tar", "w") as archive:
        archive.add(tree / "JPEGImages", "VOCdevkit/VOC2010/JPEGImages")
    assert run("prepare", "pascal_context_59", "d") == 0
    mask = here / "d/VOCdevkit/VOC2010/SegmentationClassContext/2008_000002.png"
    person = read_class_list("pascal_context").names.index("person")
    assert (np.array(Image.open(mask)) == person).all()


def test_another_number_of_images_than_published_is_said(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "ade").rename(here / "ADEChallengeData2016")
    assert run("prepare", "ade20k", ".") == 3
    assert "train: 2 images, published were 20210" in capsys.readouterr().out
