"""Hostile and odd files, on the command line and over HTTP: one table says what becomes of each."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from segmenter import commands
from segmenter.checkpoints import save
from segmenter.data.decoding.decode import decode_image, read_header
from segmenter.inference.predictor import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from tests.helpers.models import make_spec
from tests.helpers.odd_images import ODD_IMAGES, OddImage
from tests.helpers.services import code_of, encode, labels_of, make_image, serving, serving_process
from tests.helpers.skips import NOT_HERE

READ = [each for each in ODD_IMAGES if each.pixels is not None]
REFUSED = [each for each in ODD_IMAGES if each.pixels is None]
LARGE = (6000, 8000)
MEMORY = 2 << 30  # that a process may take for an image of 48 million pixels

MEASURE = """
import resource, sys, time
from segmenter.data.decoding.decode import decode_image, read_header
from segmenter.errors import UserError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

data = [open(path, "rb").read() for path in sys.argv[1:]]
before = peak()
for each in data:
    start = time.process_time()
    try:
        decode_image(each)
    except UserError:
        print(time.process_time() - start, (peak() - before) * 1024)
"""


@pytest.fixture(scope="module")
def served() -> Iterator[SimpleNamespace]:
    with serving() as running:
        yield running


def by_name(image: OddImage) -> str:
    return image.name


def test_the_set_has_the_32_files_of_the_fault_list() -> None:
    assert len({Path(each.name).stem for each in ODD_IMAGES}) == 32


@pytest.mark.parametrize("image", READ, ids=by_name)
def test_an_odd_image_shows_what_it_should(image: OddImage) -> None:
    difference = decode_image(image.data).astype(int) - image.pixels
    assert np.abs(difference).max() <= image.levels


@pytest.mark.parametrize("image", ODD_IMAGES, ids=by_name)
def test_over_http_it_is_labelled_or_refused_as_the_table_says(
    served: SimpleNamespace, image: OddImage
) -> None:
    response = served.client.post("/segment", files={"image": (image.name, image.data)})
    if image.pixels is None:
        assert code_of(response) == (422, image.code)
        assert image.problem in response.json()["detail"] or image.code == "no-image"
    else:
        expected = served.predictor(decode_image(image.data))
        np.testing.assert_array_equal(labels_of(response), expected)


def predict(images: Path, model: Path, out: Path) -> int:
    """The exit status of `segmenter predict`."""
    with pytest.raises(SystemExit) as ended:
        commands.main(["predict", str(images), "--model", str(model), "--out", str(out)])
    return ended.value.code or 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(Segmenter(make_spec(3)), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.mark.slow
def test_on_the_command_line_it_is_labelled_or_refused_as_the_table_says(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture
) -> None:
    images, out = tmp_path / "photos", tmp_path / "out"
    images.mkdir()
    for image in ODD_IMAGES:
        (images / image.name).write_bytes(image.data)
    assert predict(images, model, out) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(REFUSED)
    for image in REFUSED:
        (line,) = (each for each in lines if image.name in each)
        assert image.problem in line
    predictor = Predictor(model)
    for image in READ:
        labels = np.array(Image.open(out / f"{Path(image.name).stem}_label.png"))
        np.testing.assert_array_equal(labels, predictor(decode_image(image.data)))
    assert len(list(out.glob("*_label.png"))) == len(READ)


def test_on_the_command_line_labels_have_the_size_of_the_image(tmp_path: Path, model: Path) -> None:
    images, out = tmp_path / "photos", tmp_path / "out"
    images.mkdir()
    sizes = [(1, 1), (1, 4000), (4000, 1), (15, 15), (513, 511)]
    for height, width in sizes:
        (images / f"{height}x{width}.png").write_bytes(encode(make_image(height, width)))
    assert predict(images, model, out) == 0
    for height, width in sizes:
        assert read_header(out / f"{height}x{width}_label.png").size == (height, width)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason=f"{NOT_HERE}: /proc")
def test_an_output_folder_that_cannot_be_made_is_said_in_one_line(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a.png").write_bytes(encode(make_image()))
    assert predict(tmp_path / "a.png", model, Path("/proc/out")) == 2
    error = capsys.readouterr().err
    assert "/proc/out" in error
    assert error.count("\n") == 1


def test_what_promises_too_much_is_refused_within_100_ms_and_100_mb(tmp_path: Path) -> None:
    bombs = [each for each in REFUSED if "bomb" in each.name or "huge" in each.name]
    for each in bombs:
        (tmp_path / each.name).write_bytes(each.data)
    paths = [tmp_path / each.name for each in bombs]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], check=True, capture_output=True, text=True
    )
    measured = [[float(value) for value in line.split()] for line in done.stdout.splitlines()]
    assert len(measured) == len(bombs) == 4
    for seconds, num_bytes in measured:
        assert seconds < 0.1
        assert num_bytes < 100e6


@pytest.fixture
def model_of_windows() -> Segmenter:
    spec = make_spec(3).model_copy(
        update={"protocol": EvaluationProtocol(name="windows", window=512, stride=512)}
    )
    return Segmenter(spec)


@pytest.mark.slow
def test_a_image_of_48_million_pixels_is_labelled_within_its_memory(
    tmp_path: Path, model_of_windows: Segmenter
) -> None:
    with serving_process(tmp_path, model_of_windows) as served:
        response = served.client.post("/segment", content=encode(make_image(*LARGE), "JPEG"))
        assert labels_of(response).shape == LARGE
        assert peak_memory(served.process.pid) < MEMORY


def peak_memory(pid: int) -> int:
    """The most memory that a process had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
