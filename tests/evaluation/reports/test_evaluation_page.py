"""The report shows the scores and the images with the worst of them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from segmenter.classes import Classes
from segmenter.data.folder import Item
from segmenter.data.sample import Sample
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.reports.evaluation_page import write_report
from segmenter.files.outputs import OutputFolder
from segmenter.pages import PAGE_NAME
from tests.helpers.predictions import ReadsImage, with_names

EVIL = "<script>alert('x')</script>"
ESCAPED = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"
CONTEXT = {"model": "street", "data": EVIL, "protocol": {"short_side": 512, "window": None}}


@pytest.fixture
def write_page(tmp_path, write_items):
    """A function that evaluates images, reports on them, and returns the page's text."""

    def write(pairs, classes: Classes, context=CONTEXT) -> str:
        predictor, items = ReadsImage(classes), write_items(pairs)
        found = evaluate(predictor, items, classes)
        folder = OutputFolder(tmp_path / "report")

        def label(_: Item, sample: Sample) -> np.ndarray:
            return predictor(sample.image)

        return write_report(found, label, items, classes, folder, context).read_text("utf-8")

    return write


def pairs_of(num_wrong: list[int], num_classes: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of 40 pixels, the first so many of them wrong."""
    pairs = []
    for wrong in num_wrong:
        true = np.arange(40) % num_classes
        predicted = np.where(np.arange(40) < wrong, (true + 1) % num_classes, true)
        pairs.append((true.reshape(5, 8), predicted.reshape(5, 8)))
    return pairs


def shown_images(page: str) -> list[str]:
    return re.findall(r"<h3>(photo-\d+)</h3>", page)


class _Balance(HTMLParser):
    """Finds tags that are closed in the wrong order; a cell may be left open."""

    LEFT_OPEN = ("meta", "img", "td", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:  # noqa: ARG002
        if tag not in self.LEFT_OPEN:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.LEFT_OPEN:
            assert self.open.pop() == tag


def test_the_page_names_every_class_and_image_and_the_context(write_page) -> None:
    classes = with_names("sky", "road", "car", "never seen")
    page = write_page(pairs_of([0, 1, 9, 20]), classes)
    for name in (*classes.names, "photo-0", "photo-3", "street", "short side 512"):
        assert name in page
    assert "window none" not in page
    assert "in no mean:</b> never seen" in page


def test_the_page_shows_the_scores_in_per_cent(write_page) -> None:
    page = write_page(pairs_of([10, 10]), with_names("a", "b", "c"))
    assert "<b>75.00</b>" in page


def test_a_class_that_is_only_predicted_is_named(write_page) -> None:
    page = write_page([(np.zeros((2, 4)), np.array([[0, 0, 0, 1]] * 2))], with_names("a", "ghost"))
    assert "so 0 in the mIoU:</b> ghost" in page


def test_names_and_context_are_escaped(write_page) -> None:
    page = write_page(pairs_of([3]), with_names("a", EVIL, "c"), CONTEXT)
    assert ESCAPED in page
    assert "<script>alert" not in page


def test_the_page_needs_nothing_from_outside(write_page) -> None:
    page = write_page(pairs_of([0, 1, 2, 3]), with_names("a", "b", "c"))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link", re.sub(r"base64,[^\"]*", "", page))
    sources = re.findall(r'src="([^"]{22})', page)
    assert len(sources) == 16
    assert set(sources) == {"data:image/jpeg;base64"}


def test_every_tag_is_closed(write_page) -> None:
    parser = _Balance()
    parser.feed(write_page(pairs_of([0, 1]), with_names("a", "b", "c")))
    assert parser.open == []


def test_the_worst_images_come_first_and_none_is_shown_twice(write_page) -> None:
    page = write_page(pairs_of([5, 1, 9, 3]), with_names("a", "b", "c"))
    assert shown_images(page) == ["photo-2", "photo-0", "photo-1", "photo-3"]


def test_of_many_images_the_eight_worst_and_the_eight_best_are_shown(write_page) -> None:
    page = write_page(pairs_of(list(range(20))), with_names("a", "b", "c"))
    shown = [int(name.removeprefix("photo-")) for name in shown_images(page)]
    assert shown == [*range(19, 11, -1), *range(8)]


def test_a_image_without_labels_is_not_ranked(write_page) -> None:
    unlabelled = (np.full((5, 8), 255), np.zeros((5, 8)))
    page = write_page([*pairs_of([1]), unlabelled], with_names("a", "b", "c"))
    assert shown_images(page) == ["photo-0"]


def test_nothing_labelled_at_all_still_makes_a_page(write_page) -> None:
    page = write_page([(np.full((5, 8), 255), np.zeros((5, 8)))], with_names("a", "b"), {})
    assert shown_images(page) == []
    assert "<title>Evaluation</title>" in page


def test_the_matrix_of_few_classes_shows_its_numbers(write_page) -> None:
    cell = re.compile(r'<td class="r[^>]*>(\d*)')
    few = write_page(pairs_of([0]), with_names("a", "b", "c"))
    assert cell.findall(few) == ["100"] * 3


def test_the_matrix_of_many_classes_has_a_cell_for_each_pair_and_no_numbers(write_page) -> None:
    classes = with_names(*(f"name {index}" for index in range(40)))
    page = write_page(pairs_of([1], num_classes=40), classes)
    matrix = page[page.index('<table class="matrix') :]
    matrix = matrix[: matrix.index("</table>")]
    assert matrix.count("<td") == 40 * 40
    assert 'title="name 0 as name 1: 100.0 %"' in matrix
    assert not re.search(r"<td[^>]*>\d", matrix)


def test_large_images_are_made_small(write_page) -> None:
    true = np.zeros((1500, 2000))
    page = write_page([(true, true)], with_names("a", "b"))
    assert len(page) < 300_000


def test_a_page_of_someone_else_is_not_replaced(tmp_path: Path, write_page) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / PAGE_NAME).write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        write_page(pairs_of([1]), with_names("a", "b", "c"))


def test_headings_are_the_terms_of_the_field_and_bars_carry_intervals(write_page) -> None:
    page = write_page(pairs_of([1, 5, 9]), with_names("a", "b", "c"))
    assert "<h2>Confusion matrix</h2>" in page
    assert page.count('<u style="left:') == 3
    assert page.count(" data-map=") == 6
    assert "· model street ·" in page
