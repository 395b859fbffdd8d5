"""Large batches: parts that resume where they were stopped, each image once, byte for byte."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.inference import Predictor
from segmenter.inference.labels import Quantity
from segmenter.inference.predictor import Quantities
from segmenter.label_files.image_outputs import ImageOutputs
from segmenter.model import Segmenter
from segmenter.options import Labelling, PredictOptions
from segmenter.predicting.images import Result
from segmenter.predicting.part_record import PartRecord, part_of
from segmenter.predicting.predict_parts import NOT_RECORDED, recorded_settings
from tests.helpers.command_line import run
from tests.helpers.command_words import arguments_of
from tests.helpers.models import make_spec

COMMAND = ["predict", "photos", "--model", "model.safetensors", "--runtime", "torch"]
SAVE = ("--save", "overlay,label,coco")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model and twelve tiny images in two folders."""
    monkeypatch.chdir(tmp_path)
    save(Segmenter(make_spec(depth=1)).eval(), "model.safetensors")
    write_images(Path("photos"), 12)
    return tmp_path


def write_images(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    for number in range(count):
        picture = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        picture.save(folder / ("deep" if number % 2 else "") / f"{number}.png")


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pixels of each image that the model was shown."""
    shown: list[bytes] = []
    rows = Predictor.rows

    def counted(
        self: Predictor, image: np.ndarray, *wanted: Quantity
    ) -> Iterator[tuple[slice, Quantities]]:
        shown.append(image.tobytes())
        return rows(self, image, *wanted)

    monkeypatch.setattr(Predictor, "rows", counted)
    return shown


def outputs(folder: str) -> dict[str, bytes]:
    """Files that are not records of ours, nor what a kill left half written."""
    files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_an_image_belongs_to_one_part_by_its_name() -> None:
    names = [f"{number}" for number in range(2000)]
    counts = Counter(part_of(name, 8) for name in names)
    assert set(counts) == set(range(1, 9))
    assert min(counts.values()) > 200
    assert part_of("a/b", 8) == 6, "never changes: machines and years must agree"


@pytest.mark.usefixtures("here")
def test_parts_make_the_files_of_a_plain_run(labelled: list[bytes]) -> None:
    assert run(*COMMAND, *SAVE, "--out", "plain") == 0
    for part in "123":
        assert run(*COMMAND, *SAVE, "--out", "out", "--parts", "3", "--part", part) == 0
    assert len(labelled) == 24
    lists = {name for name in outputs("out") if name.startswith(("coco", "failed"))}
    expected = {f"coco-{part}-of-3.json" for part in "123"}
    assert lists == expected | {f"failed-{part}-of-3.jsonl" for part in "123"}
    assert run(*COMMAND, *SAVE, "--out", "out", "--parts", "3") == 0
    assert len(labelled) == 24, "all was done: only the files of all images are written"
    found = outputs("out")
    assert {name: found[name] for name in outputs("plain")} == outputs("plain")
    assert found["failed.jsonl"] == b""


def test_a_image_that_failed_is_listed_and_tried_again(
    here: Path, labelled: list[bytes], capsys: pytest.CaptureFixture
) -> None:
    good = (here / "photos/0.png").read_bytes()
    (here / "photos/0.png").write_bytes(b"broken")
    assert run(*COMMAND, *SAVE, "--parts", "2") == 3
    (line,) = (here / "predictions/failed.jsonl").read_text().splitlines()
    assert json.loads(line)["photo"] == "photos/0.png"
    assert "0.png is not an image" in json.loads(line)["problem"]
    assert run(*COMMAND, *SAVE, "--parts", "2") == 3
    (here / "photos/0.png").write_bytes(good)
    capsys.readouterr()
    assert run(*COMMAND, *SAVE, "--parts", "2") == 0
    assert "1 failed before" in capsys.readouterr().out
    assert (here / "predictions/failed.jsonl").read_text() == ""
    assert len(labelled) == len(set(labelled)) == 12


def test_a_image_that_changed_and_one_that_lost_a_file_are_labelled_again(
    here: Path, labelled: list[bytes], capsys: pytest.CaptureFixture
) -> None:
    assert run(*COMMAND, *SAVE, "--parts", "1") == 0
    before = outputs("predictions")
    (here / "predictions/deep/1_overlay.jpg").unlink()
    os.truncate("predictions/4_label.png", 0)  # as a power cut may leave it
    os.utime(here / "photos/2.png", ns=(0, 0))
    del labelled[:]
    capsys.readouterr()
    assert run(*COMMAND, *SAVE, "--parts", "1") == 0
    assert len(labelled) == 3
    assert "12 images, 9 done before, 1 changed since" in capsys.readouterr().out
    assert outputs("predictions") == before


@pytest.mark.usefixtures("here")
def test_other_options_are_said_and_refused_unless_all_is_made_anew(
    labelled: list[bytes], capsys: pytest.CaptureFixture
) -> None:
    assert run(*COMMAND, *SAVE, "--parts", "2") == 0
    for change, message in (
        (["--parts", "2", "--opacity", "0.7"], "opacity 0.5, now 0.7"),
        (["--parts", "3"], "parts 2, now 3"),
        (["--parts", "2", "--flip"], "flip False, now True"),
        (["--parts", "2", "--merge-threshold", "0.8"], "merge_threshold None, now 0.8"),
        (["--parts", "2", "--short-side", "64"], "short_side None, now 64"),
        (["--parts", "2", "--scales", "0.5", "1"], "scales [1.0], now [0.5, 1.0]"),
    ):
        assert run(*COMMAND, *SAVE, *change) == 2
        assert message in capsys.readouterr().err
    save(Segmenter(make_spec(depth=1)).eval(), "model.safetensors", overwrite=True)
    assert run(*COMMAND, *SAVE, "--parts", "2") == 2
    assert "model '" in capsys.readouterr().err
    assert len(labelled) == 12
    assert run(*COMMAND, *SAVE, "--parts", "2", "--overwrite") == 0
    assert len(labelled) == 24


def test_every_option_of_predict_is_recorded_or_said_to_matter_to_no_file() -> None:
    predictor = Predictor(Segmenter(make_spec(depth=1)))
    outputs = ImageOutputs(predictor.classes, Path("out"))
    recorded = recorded_settings(predictor, outputs, PredictOptions()).keys()
    assert recorded.isdisjoint(NOT_RECORDED)
    assert set(arguments_of("predict")) - {"images"} <= recorded | NOT_RECORDED


def test_an_option_that_is_new_is_recorded_unasked() -> None:
    @dataclass(frozen=True, kw_only=True)
    class More(Labelling):
        sharpness: float = 0.5

    predictor = Predictor(Segmenter(make_spec(depth=1)))
    outputs = ImageOutputs(predictor.classes, Path("out"))
    options = PredictOptions(labelling=More(sharpness=0.7))
    assert recorded_settings(predictor, outputs, options)["sharpness"] == 0.7


def test_a_part_is_one_process_at_a_time(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(*COMMAND, *SAVE, "--parts", "2") == 0
    with PartRecord(here / "predictions", 1, 2, ""):
        assert run(*COMMAND, *SAVE, "--parts", "2", "--part", "1") == 2
        assert "part 1 of 2 is in use by another process" in capsys.readouterr().err
        assert run(*COMMAND, *SAVE, "--parts", "2", "--part", "2") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "1"], "add --parts"),
        (["--parts", "0"], "--parts is 1 or more"),
        (["--parts", "2", "--part", "3"], "--part from 1 to it; got 2 and 3"),
        (["--parts", "201"], "at most 200 parts"),
        (["--parts", "2", "--gallery"], "omit --parts"),
        (["--parts", "2", "--fps", "5"], "parts are of images alone"),
        (["--parts", "2", "--video", "labels"], "parts are of images alone"),
        (["film.mp4", "--parts", "2"], "film.mp4 is a video: parts are of images alone"),
        (["--parts", "2", "--out", "photos"], "photos lies in the output folder"),
        (["--parts", "2", "--save", "x"], "'x' is not known"),
    ],
)
def test_a_mistake_is_one_line(
    here: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    (here / "film.mp4").write_bytes(b"its name is looked at first")
    assert run(*COMMAND, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (here / "predictions").exists()


def test_files_of_the_user_are_kept(here: Path, capsys: pytest.CaptureFixture) -> None:
    mine = here / "predictions/0_label.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    assert run(*COMMAND, *SAVE, "--parts", "1") == 2
    assert "0_label.png exists and was not written by an earlier run" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"


def test_a_record_that_is_damaged_or_a_link_is_one_line(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(*COMMAND, *SAVE, "--parts", "1") == 0
    record = here / "predictions/.segmenter-shards/1-of-1.sqlite"
    record.write_bytes(b"no database " * 100)
    assert run(*COMMAND, *SAVE, "--parts", "1") == 2
    assert "1-of-1.sqlite cannot be used" in capsys.readouterr().err
    record.parent.rename(here / "elsewhere")
    record.parent.symlink_to(here / "elsewhere")
    assert run(*COMMAND, *SAVE, "--parts", "1") == 2
    assert "is a link" in capsys.readouterr().err


def test_names_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff \xe2\x82.png")
    path.touch()
    with PartRecord(tmp_path / "out", 1, 1, "s") as record:
        record.list_images([(path, path.stem)])
        assert list(record.pending()) == [(path, path.stem)]
        record.add_result(Result(path, (), np.array([0.25]), 0.0, name=path.stem))
        assert list(record.pending()) == []
        ((found, shares),) = record.shares()
        assert (found, shares.tolist()) == (path, [0.25])


@pytest.mark.slow
def test_two_killed_workers_go_on_and_give_the_files_of_an_unbroken_run(
    here: Path, labelled: list[bytes]
) -> None:
    write_images(here / "batch", 200)
    command = [*(each.replace("photos", "batch") for each in COMMAND), *SAVE]
    assert run(*command, "--out", "unbroken", "--parts", "2") == 0
    del labelled[:]
    workers = [
        subprocess.Popen(
            [sys.executable, "-u", "-m", "segmenter", *command, "--parts", "2", "--part", part],
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in "12"
    ]
    for worker in workers:
        assert worker.stdout is not None
        next(line for line in worker.stdout if line.startswith("[50/"))
        worker.send_signal(signal.SIGKILL)
    for worker in workers:
        worker.communicate(timeout=300)
    at_kill = outputs("predictions")
    with (
        PartRecord(here / "predictions", 1, 2, "") as one,
        PartRecord(here / "predictions", 2, 2, "") as two,
    ):
        query = "SELECT count(*) FROM done"
        num_done = sum(each._database.execute(query).fetchone()[0] for each in (one, two))
    assert 98 <= num_done < 200

    for part in "12":
        assert run(*command, "--parts", "2", "--part", part) == 0
    assert len(labelled) == len(set(labelled)) == 200 - num_done
    for _ in range(2):
        assert run(*command, "--parts", "2") == 0
    assert len(labelled) == 200 - num_done, "run twice, nothing is computed again"
    found, expected = outputs("predictions"), outputs("unbroken")
    assert {name: found[name] for name in expected} == expected
    assert found.items() >= {n: c for n, c in at_kill.items() if n.endswith(("png", "jpg"))}.items()
    extra = {f"{each}-of-2" for each in ("coco-1", "coco-2", "failed-1", "failed-2")}
    assert {Path(name).stem for name in found.keys() - expected.keys()} == extra
    left = [path.name for path in Path("predictions").rglob(".segmenter-*.tmp*")]
    assert len(left) <= 2 * 4, "what a kill left half written has no name that anyone reads"
