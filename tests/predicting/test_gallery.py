"""The gallery: the surest images first, the doubtful marked, one legend, pictures without it."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.decoding.decode import read_header
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.options import ImageOutput
from segmenter.pages import label_map_uri
from segmenter.predicting.gallery import write_gallery
from segmenter.predicting.images import ImageView, Result, predict_files
from segmenter.predicting.opening import image_outputs
from segmenter.predicting.sureness import Sureness, measure_sureness
from tests.helpers.models import make_spec


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Segmenter(make_spec(depth=1)))


def result(name: str, sure: float, label: int = 1) -> Result:
    labels = np.full((4, 8), label, dtype=np.uint8)
    view = ImageView((4, 8), Sureness(sure, label, 0.75), label_map_uri(labels))
    shares = np.eye(3)[label]
    return Result(Path(f"{name}.jpg"), (), shares, 0.1, name=name, view=view)


def page_of(results: list[Result], predictor: Predictor, folder: Path) -> str:
    return write_gallery(results, "a model", predictor, OutputFolder(folder)).read_text("utf-8")


def test_the_surest_image_is_first_and_the_doubtful_stand_apart_with_their_reason(
    predictor: Predictor, tmp_path: Path
) -> None:
    results = [result("c", 0.3), result("b", 0.92), result("a", 0.95)]
    page = page_of(results, predictor, tmp_path / "out")
    assert re.findall(r"<h3>(\w)\.jpg</h3>", page) == ["a", "b", "c"]
    sure, doubtful = page.split("<h2>Doubtful</h2>")
    assert "doubtful: " not in sure
    assert "doubtful: <b>30 %</b> of its pixels sure" in " ".join(doubtful.split())
    assert "75 % of the unsure pixels are labelled class-1" in doubtful


def test_there_is_one_legend_with_the_classes_that_occur(
    predictor: Predictor, tmp_path: Path
) -> None:
    page = page_of([result("a", 1.0, 0), result("b", 1.0, 2)], predictor, tmp_path / "out")
    assert page.count('class="chips') == 1
    assert page.count('class="swatch"') == 2
    assert "model a model" in page


def test_an_image_that_failed_is_named_with_its_reason(
    predictor: Predictor, tmp_path: Path
) -> None:
    failed = Result(Path("x.jpg"), (), np.zeros(3), 0.0, "x.jpg is <cut>", "x")
    page = page_of([result("a", 1.0), failed], predictor, tmp_path / "out")
    assert "<b>x.jpg</b>: x.jpg is &lt;cut&gt;" in page


def test_the_picture_of_the_classes_has_the_size_of_the_image_and_no_legend(
    image: np.ndarray, tmp_path: Path, predictor: Predictor
) -> None:
    Image.fromarray(image).save(tmp_path / "a.png")
    folder = OutputFolder(tmp_path / "out")
    output = ImageOutput(out=folder.root, gallery=True)
    outputs = image_outputs(predictor.classes, output, ("overlay",))
    images = [(tmp_path / "a.png", "a")]
    (found,) = predict_files(predictor, images, folder, outputs)
    assert read_header(folder.root / "a_classes.jpg").size == image.shape[:2]
    assert found.view is not None
    labels, margins = predictor.labels_and_margins(image)
    expected = measure_sureness(labels, np.rint(255 * margins).astype(np.uint8))
    assert found.view.sureness == expected


def test_sureness_counts_margins_from_a_half_on_and_names_the_class_of_the_others() -> None:
    labels = np.array([[0, 1, 1, 2]], dtype=np.uint8)
    found = measure_sureness(labels, np.array([[255, 10, 127, 128]], dtype=np.uint8))
    assert (found.share, found.unsure_label, found.unsure_share) == (0.5, 1, 1.0)
    assert measure_sureness(labels, np.full((1, 4), 255, dtype=np.uint8)).share == 1
