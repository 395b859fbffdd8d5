"""What is drawn while the service has not answered yet is neither lost nor shown wrong."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import BROWSER, Held
from tests.helpers.label_page import Hands, labels_of, open_page, settle, version_is
from tests.helpers.labelling import (
    Halves,
    labelling,
    make_change,
    make_stroke,
    with_classes,
    write_images,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

SIZE = (300, 400)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[SimpleNamespace]:
    root = write_images(tmp_path / "set", "a", "b", "c", size=SIZE)
    with labelling(root, Halves()) as served:
        with_classes(served.folder, "sky", "road", "tree")
        yield served


@pytest.fixture
def page(served: SimpleNamespace) -> Iterator[Any]:
    with open_page(served.port, "a") as opened:
        yield opened


def paint(page: Any, *rows: int) -> None:
    for row in rows:
        Hands(page, SIZE).mouse((row, 50), (row, 150))


def paint_and_wait(page: Any, row: int) -> None:
    paint(page, row)
    page.get_by_text("saved", exact=True).wait_for()


def painted_rows(served: SimpleNamespace) -> list[int]:
    labels = labels_of(served, SIZE)
    return [row for row in range(50, 300, 50) if labels[row, 100] == 0]


def test_a_stroke_that_is_given_up_costs_none_that_is_under_way(
    page: Any, served: SimpleNamespace
) -> None:
    hands, held = Hands(page, SIZE), Held(page, "/api/stroke")
    paint(page, 50, 100)
    page.mouse.move(*hands.place((150, 50)))
    page.mouse.down()
    page.mouse.move(*hands.place((150, 150)))
    page.keyboard.press("Escape")
    page.mouse.up()
    settle(page)
    held.release()
    paint(page, 200)
    version_is(served, "a", 3, page)
    assert painted_rows(served) == [50, 100, 200]
    assert page.locator("#error").is_hidden()


def test_an_image_is_opened_again_once_its_strokes_are_saved(
    page: Any, served: SimpleNamespace
) -> None:
    held = Held(page, "/api/stroke")
    paint(page, 50, 100)
    page.click("[data-name=b]")
    page.locator("#place", has_text="b,").wait_for()
    page.click("[data-name=a]")
    settle(page)
    held.release()
    page.locator("#place", has_text="a,").wait_for()
    paint(page, 150)
    version_is(served, "a", 3, page)
    assert painted_rows(served) == [50, 100, 150]


def test_a_change_that_is_refused_costs_none_that_follows_it(
    page: Any, served: SimpleNamespace
) -> None:
    paint_and_wait(page, 50)
    held = Held(page, "/api/undo")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")  # there is nothing more to undo
    paint(page, 100, 150)
    held.release()
    version_is(served, "a", 4, page)
    assert painted_rows(served) == [100, 150]


def test_what_is_refused_in_an_image_that_was_left_names_it(
    page: Any, served: SimpleNamespace
) -> None:
    held = Held(page, "/api/stroke")
    paint(page, 50)
    served.folder.change(make_change("a", 0), make_stroke(0, (0, 0, 9)))
    page.click("[data-name=b]")
    page.locator("#place", has_text="b,").wait_for()
    held.release()
    page.locator("#error", has_text="a: version 0 of this image was changed").wait_for()


def test_done_pressed_twice_leads_to_the_next_image_alone(
    page: Any, served: SimpleNamespace
) -> None:
    held = Held(page, "/api/mark")
    page.keyboard.press("n")
    page.keyboard.press("n")
    held.release()
    version_is(served, "a", 2, page)
    page.locator("#place", has_text="b,").wait_for()
    settle(page)
    assert page.inner_text("#place").startswith("b,")


def test_a_region_gets_the_class_that_was_chosen_when_it_was_clicked(
    page: Any, served: SimpleNamespace
) -> None:
    held = Held(page, "/api/grow")
    page.keyboard.press("2")
    page.keyboard.press("g")
    Hands(page, SIZE).mouse((100, 100))
    page.keyboard.press("3")
    held.release()
    version_is(served, "a", 1, page)
    assert labels_of(served, SIZE)[100, 100] == 1


def test_what_is_drawn_while_the_service_goes_away_is_kept(
    page: Any, served: SimpleNamespace
) -> None:
    paint_and_wait(page, 50)
    fetched, strokes = Held(page, "/api/labels"), Held(page, "/api/stroke")
    page.keyboard.press("Control+z")
    fetched.wait()  # what was under the stroke
    paint(page, 100, 150)
    fetched.fail()
    settle(page)
    strokes.release()
    version_is(served, "a", 4, page)
    assert painted_rows(served) == [100, 150]


def test_what_could_not_be_fetched_is_fetched_soon(page: Any, served: SimpleNamespace) -> None:
    paint_and_wait(page, 50)
    fetched = Held(page, "/api/labels")
    page.keyboard.press("Control+z")
    fetched.wait()
    with page.expect_response(lambda answer: "/api/labels" in answer.url):
        fetched.fail()
    paint(page, 100)
    version_is(served, "a", 3, page)


@pytest.mark.usefixtures("served")
def test_the_name_of_the_next_class_is_kept_while_one_is_added(page: Any) -> None:
    held = Held(page, "/api/class")
    page.fill("#class-name", "car")
    page.keyboard.press("Enter")
    held.wait()
    page.fill("#class-name", "bus")
    held.release()
    page.locator("#classes", has_text="car").wait_for()
    assert page.input_value("#class-name") == "bus"


def test_an_image_that_cannot_be_opened_is_not_said_to_be_opening(
    page: Any, served: SimpleNamespace
) -> None:
    (served.folder.root / "images" / "b.png").unlink()
    page.click("[data-name=b]")
    page.locator("#error", has_text="b.png is missing").wait_for()
    assert page.inner_text("#status") == ""


def write_masks_of_another_size(page: Any, served: SimpleNamespace) -> None:
    masks = served.folder.root / "masks"
    masks.mkdir()
    for name in "bc":
        Image.fromarray(np.zeros((9, 7), np.uint8)).save(masks / f"{name}.png")
    page.reload()
    page.click("[data-name=b]")


def test_an_answer_about_a_mask_answers_no_other_question(
    page: Any, served: SimpleNamespace
) -> None:
    write_masks_of_another_size(page, served)
    held = Held(page, "/api/take-mask")
    page.click("#replace-mask")
    page.click("[data-name=c]")
    page.locator("#foreign-text", has_text="c.png").wait_for()
    held.release()
    version_is(served, "b", 1, page)
    settle(page)
    assert page.locator("#foreign").is_visible()


def test_a_question_about_a_mask_waits_until_an_answer_can_be_taken(
    page: Any, served: SimpleNamespace
) -> None:
    write_masks_of_another_size(page, served)
    page.locator("#foreign").wait_for()
    held = Held(page, "/api/open")
    page.click("#take-mask")
    page.locator("#error", has_text="9 x 7").wait_for()
    assert page.locator("#replace-mask").is_disabled()
    held.release()
    page.click("#replace-mask")
    version_is(served, "b", 1, page)
