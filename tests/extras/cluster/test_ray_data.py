"""Rows and files labelled as Ray's actors would, without Ray."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.errors import UserError
from segmenter.extras.cluster.ray_data import LabelFiles, LabelRows, image_rows
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.models import make_spec
from tests.helpers.services import encode, make_image


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A tiny model's file."""
    path = tmp_path / "tiny.safetensors"
    save(Segmenter(make_spec()).eval(), path)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of three sizes, one of which is cut."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate([(40, 56), (40, 56), (1, 30), (56, 40)]):
        Image.fromarray(make_image(*size, seed=number)).save(folder / f"{number}.png")
    (folder / "cut.png").write_bytes(encode(make_image())[:90])
    return folder


def column(values: list) -> np.ndarray:
    """A column as Ray makes it of values that differ in shape."""
    made = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        made[index] = value
    return made


def test_rows_gain_what_the_predictor_says(model: str) -> None:
    images = [make_image(40, 56), make_image(56, 40), make_image(40, 56, seed=1)]
    rows = LabelRows(model, runtime="torch")({"image": column(images), "id": np.arange(3)})
    assert rows.keys() == {"id", "labels", "shares", "problem"}
    predictor = Predictor(model, runtime="torch")
    for image, labels, shares in zip(images, rows["labels"], rows["shares"], strict=True):
        np.testing.assert_array_equal(labels, predictor(image))
        np.testing.assert_allclose(shares, [(labels == index).mean() for index in range(3)])
    assert [*rows["problem"]] == ["", "", ""]


def test_rows_take_the_keywords_of_a_predictor(model: str) -> None:
    image = make_image(40, 56)
    keywords = {"runtime": "torch", "short_side": 64, "window": 32}
    (labels,) = LabelRows(model, **keywords)({"image": column([image])})["labels"]
    np.testing.assert_array_equal(labels, Predictor(model, **keywords)(image))
    with pytest.raises(UserError, match="no option 'shortside', did you mean 'short_side'"):
        LabelRows(model, shortside=64)


def test_a_image_that_is_none_leaves_the_other_rows_as_they_are(model: str) -> None:
    good = encode(make_image())
    rows = LabelRows(model, runtime="torch")({"bytes": column([good, good[:90], b"", good])})
    assert [bool(problem) for problem in rows["problem"]] == [False, True, True, False]
    assert rows["labels"][1].shape == (0, 0)
    assert rows["shares"][1].sum() == 0
    np.testing.assert_array_equal(rows["labels"][0], rows["labels"][3])
    assert rows["labels"][0].shape == (40, 56)
    odd = column([make_image(), make_image().astype(np.float32), make_image(20, 20)])
    rows = LabelRows(model, runtime="torch")({"image": odd})
    assert [bool(problem) for problem in rows["problem"]] == [False, True, False]


def test_rows_without_a_image_are_refused(model: str) -> None:
    with pytest.raises(UserError, match="`bytes` or `image`; it has path"):
        LabelRows(model, runtime="torch")({"path": column(["a"])})


def batch_of(folder: Path) -> dict[str, np.ndarray]:
    rows = image_rows([str(folder)])
    return {key: column([row[key] for row in rows]) for key in ("path", "name")}


def test_files_are_written_and_a_batch_can_be_tried_again(
    model: str, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, second = (LabelFiles(str(out), model, runtime="torch") for _ in range(2))
    rows = first(batch_of(folder))
    assert {path.name for path in out.glob("*_label.png")} == {f"{i}_label.png" for i in range(4)}
    assert [name for name, why in zip(rows["name"], rows["problem"], strict=True) if why] == ["cut"]
    before = {path: path.read_bytes() for path in out.glob("*.*g")}
    for each in (first, second):  # the same actor, and one that began before the files were there
        each(batch_of(folder))
    assert {path: path.read_bytes() for path in out.glob("*.*g")} == before


def test_a_file_of_the_users_is_not_replaced(model: str, folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "0_label.png"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(UserError, match=r"0_label\.png exists"):
        LabelFiles(str(mine.parent), model, runtime="torch")(batch_of(folder))
    assert mine.read_text() == "precious"


def test_the_names_in_the_documentation_of_0_1_0_are_the_same_code() -> None:
    old = importlib.import_module("segmenter.cluster.ray_data")
    assert old.__file__ == inspect.getfile(LabelRows)
    assert old.photo_rows(["examples"]) == image_rows(["examples"])
    assert importlib.util.find_spec("segmenter.cluster.ray_serve") is not None
