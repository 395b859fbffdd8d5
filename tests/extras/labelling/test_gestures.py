"""What mouse, pen, fingers and keys do to an image, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segmenter.extras.labelling.layers import NOT_SURE, NOTHING
from tests.helpers.browser import ARTEFACTS, BROWSER, Held, chromium, new_page, watch
from tests.helpers.label_page import Hands, labels_of, tablet, version_is
from tests.helpers.labelling import Halves, labelling, read_mask, with_classes, write_images
from tests.helpers.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

SIZE = (300, 400)
LEFT = slice(0, 200)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[SimpleNamespace]:
    root = write_images(tmp_path / "set", "a", "b", "c", size=SIZE)
    assistant = Halves()
    with labelling(root, assistant) as served:
        with_classes(served.folder, "sky", "road", "tree")
        served.root, served.assistant = root, assistant
        yield served


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, served: SimpleNamespace, request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = new_page(browser, viewport={"width": 1280, "height": 800})
    problems = watch(opened)
    show(opened, served)
    yield opened
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=ARTEFACTS / f"{request.node.name}.png")
    assert not [each for each in problems if "status of 422" not in each]  # too early to propose


def show(page: Any, served: SimpleNamespace, name: str = "a") -> None:
    page.goto(f"http://127.0.0.1:{served.port}/#{name}")
    page.locator("#place", has_text=f"{name},").wait_for()
    page.locator("#status", has_text="opening").wait_for(state="detached")


def labels(served: SimpleNamespace, name: str = "a") -> np.ndarray:
    return labels_of(served, SIZE, name)


def test_a_pen_paints_and_fingers_then_only_move(page: Any, served: SimpleNamespace) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("2")
    hands.pen((100, 50), (100, 150))
    version_is(served, "a", 1)
    row = labels(served)[100]
    assert (row[50:150] == 1).all()
    assert (row[180:] == NOTHING).all()
    hands.fingers(((200, 50), (200, 150)))  # the view moves by 100 pixels, and nothing is painted
    hands.pen((250, 150), (250, 151))
    version_is(served, "a", 2)
    painted = np.flatnonzero(labels(served)[250] == 1)
    assert abs(painted.mean() - 50) < 3


def test_a_palm_beside_a_pen_neither_paints_nor_stops_it(
    page: Any, served: SimpleNamespace
) -> None:
    hands = Hands(page, SIZE)

    def rest_a_palm() -> None:
        with hands.palm((250, 350)):
            pass

    page.keyboard.press("2")
    with hands.palm((250, 350)):
        hands.pen((50, 50), (50, 150))
    hands.pen((100, 50), (100, 100), (100, 150), meanwhile=rest_a_palm)
    version_is(served, "a", 2)
    found = labels(served)
    assert (found[[50, 100], 60:140] == 1).all()
    assert (found[200:] == NOTHING).all()


def test_a_pinch_zooms_about_the_fingers_and_paints_nothing(
    page: Any, served: SimpleNamespace
) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    hands.fingers(((150, 170), (150, 140)), ((150, 230), (150, 260)))  # 60 pixels become 120
    hands.mouse((150, 260))
    version_is(served, "a", 1)
    painted = np.argwhere(labels(served) == 0)
    assert abs(painted.mean(axis=0) - (150, 230)).max() < 3


def test_one_finger_paints_on_a_tablet_and_all_can_be_reached(
    browser: Any, served: SimpleNamespace
) -> None:
    with tablet(browser) as page:
        show(page, served)
        hands = Hands(page, SIZE)
        page.locator("#classes button", has_text="road").tap()
        hands.fingers(((100, 50), (100, 150)))
        version_is(served, "a", 1)
        assert (labels(served)[100, 50:150] == 1).all()
        page.click("#accept")  # a second tap so soon is half of a double tap
        version_is(served, "a", 2)
        page.click("#undo")
        version_is(served, "a", 3)
        boxes = [each.bounding_box() for each in page.locator("button:visible").all()]
        assert min(box["height"] for box in boxes) >= 40  # as fingers need
        assert max(box["x"] + box["width"] for box in boxes) <= 820
        page.screenshot(path=ARTEFACTS / "tablet.png")


def test_not_sure_is_painted_kept_out_of_masks_and_not_covered_by_a_proposal(
    page: Any, served: SimpleNamespace
) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    hands.mouse((20, 20), (20, 60))
    page.keyboard.press("0")
    hands.mouse((100, 50), (100, 150))
    version_is(served, "a", 2)
    page.locator("#proposal-status", has_text=" ms").wait_for()
    page.keyboard.press("a")
    version_is(served, "a", 3)
    found = labels(served)
    assert (found[100, 50:150] == NOT_SURE).all()
    assert (found[200:, LEFT] == 0).all()
    wait_until(lambda: (served.root / "masks" / "a.png").exists())
    assert (read_mask(served.root, "a")[100, 50:150] == 255).all()


def test_a_proposal_is_accepted_inside_a_lasso_and_for_one_class(
    page: Any, served: SimpleNamespace
) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    hands.mouse((20, 20), (20, 60))
    version_is(served, "a", 1)
    page.locator("#proposal-status", has_text=" ms").wait_for()
    page.keyboard.press("l")
    hands.mouse((100, 100), (100, 300), (200, 300), (200, 100))
    version_is(served, "a", 2)
    found = labels(served)
    assert (found[110:190, 110:195] == 0).all()
    assert (found[110:190, 205:290] == 1).all()
    assert (found[210:] == NOTHING).all()
    page.locator("#proposal-status", has_text=" ms").wait_for()
    page.keyboard.press("2")
    page.keyboard.press("Shift+A")
    version_is(served, "a", 3)
    found = labels(served)
    assert (found[:, 200:] == 1).all()
    assert (found[210:, LEFT] == NOTHING).all()


def test_polygon_fill_and_grow_change_what_they_say(page: Any, served: SimpleNamespace) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    page.keyboard.press("p")
    for corner in ((50, 50), (50, 150), (150, 150), (150, 50)):
        hands.mouse(corner)
    page.keyboard.press("Enter")
    version_is(served, "a", 1)
    assert (labels(served)[60:140, 60:140] == 0).all()
    page.keyboard.press("3")
    page.keyboard.press("f")
    hands.mouse((100, 100))
    version_is(served, "a", 2)
    found = labels(served)
    assert (found == 0).sum() == 0
    assert abs((found == 2).sum() - 10_000) < 500
    page.keyboard.press("g")
    hands.mouse((250, 350))
    version_is(served, "a", 3)
    assert np.argwhere(labels(served)[200:] == 2).tolist() == [[50, 350]]
    record = (served.root / "strokes" / "a.strokes").read_text()
    assert [each for each in ("polygon", "fill", "grow") if f'"tool":"{each}"' not in record] == []


def test_a_click_on_the_first_corner_closes_a_polygon_and_undo_drops_its_last(
    page: Any, served: SimpleNamespace
) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    page.keyboard.press("p")
    for corner in ((50, 50), (50, 150), (150, 150), (290, 390)):
        hands.mouse(corner)
    page.keyboard.press("Control+z")
    hands.mouse((150, 50))
    hands.mouse((51, 51))
    version_is(served, "a", 1)
    found = labels(served) == 0
    assert found[60:140, 60:140].all()
    assert abs(found.sum() - 10_000) < 500


def test_the_brush_grows_with_large_images(browser: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "set", "a", size=(900, 1600))
    with labelling(root) as served:
        page = new_page(browser)
        show(page, served)
        for _ in range(20):
            page.keyboard.press("]")
        assert page.inner_text("#size-shown") == "400"


def test_a_change_counts_as_saved_once_it_is_acknowledged(
    page: Any, served: SimpleNamespace
) -> None:
    held = Held(page, "/api/stroke")
    page.keyboard.press("1")
    Hands(page, SIZE).mouse((20, 20), (20, 60))
    page.locator("#status", has_text="saving").wait_for()
    held.release()
    page.locator("#status", has_text="saved").wait_for()
    version_is(served, "a", 1)


def test_accepting_without_a_proposal_says_that_there_is_none(
    page: Any, served: SimpleNamespace
) -> None:
    page.keyboard.press("l")
    Hands(page, SIZE).mouse((100, 100), (100, 300), (200, 300))
    page.locator("#error", has_text="the proposal is not ready yet").wait_for()
    version_is(served, "a", 0)


def test_the_next_image_is_prepared_while_one_is_looked_at(
    page: Any, served: SimpleNamespace
) -> None:
    page.keyboard.press("1")
    Hands(page, SIZE).mouse((20, 20), (20, 60))
    wait_until(lambda: served.assistant.prepared == ["b"])


def test_an_address_with_a_box_opens_the_image_zoomed_to_it(
    page: Any, served: SimpleNamespace
) -> None:
    page.goto(f"http://127.0.0.1:{served.port}/?box=300,200,40,30#b")
    page.locator("#place", has_text="b,").wait_for()
    page.locator("#status", has_text="opening").wait_for(state="detached")
    assert page.url.endswith("/#b")  # a reload after another image was opened does not zoom again
    page.keyboard.press("1")
    Hands(page, SIZE).mouse((150, 200))  # where the middle of the whole image would be
    version_is(served, "b", 1)
    painted = np.argwhere(labels(served, "b") == 0)
    assert abs(painted.mean(axis=0) - (215, 320)).max() < 3


def test_an_address_that_names_no_image_opens_the_next_one(
    page: Any, served: SimpleNamespace
) -> None:
    page.goto("about:blank")
    page.goto(f"http://127.0.0.1:{served.port}/#50%")
    page.locator("#place", has_text="a,").wait_for()


def test_keys_alone_zoom_choose_undo_and_redo(page: Any, served: SimpleNamespace) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    for row in range(20, 280, 20):
        hands.mouse((row, 20), (row, 100))
    version_is(served, "a", 13)
    painted = labels(served)
    for version in range(14, 27):
        page.keyboard.press("Control+z")
        version_is(served, "a", version)
    assert (labels(served) == NOTHING).all()
    page.wait_for_selector("#undo:disabled")
    for version in range(27, 40):
        page.keyboard.press("Control+Shift+Z")
        version_is(served, "a", version)
    np.testing.assert_array_equal(labels(served), painted)
    page.keyboard.press("]")
    larger = int(page.inner_text("#size-shown"))
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert int(page.inner_text("#size-shown")) < larger
    for _ in range(4):
        page.keyboard.press("+")
    page.keyboard.press("2")
    hands.mouse((150, 300))  # nearer to the middle: 100 / 1.25 ** 4
    version_is(served, "a", 40)
    assert abs(np.argwhere(labels(served) == 1).mean(axis=0) - (149.5, 240.5)).max() < 3


def test_space_that_is_let_go_in_another_window_moves_no_view(
    page: Any, served: SimpleNamespace
) -> None:
    page.keyboard.press("1")
    page.keyboard.down(" ")
    page.evaluate("dispatchEvent(new Event('blur'))")
    Hands(page, SIZE).mouse((100, 50), (100, 150))
    version_is(served, "a", 1)


def test_a_window_that_changes_its_size_keeps_the_zoom_and_the_middle(
    page: Any, served: SimpleNamespace
) -> None:
    page.keyboard.press("1")
    for _ in range(4):
        page.keyboard.press("+")
    page.set_viewport_size({"width": 1200, "height": 600})
    wait_until(lambda: page.evaluate("document.getElementById('canvas').height") < 600)
    Hands(page, SIZE).mouse((150, 300))  # where this would be, were the image shown whole
    version_is(served, "a", 1)
    row, column = np.argwhere(labels(served) == 0).mean(axis=0)
    assert abs(row - 149.5) < 3
    assert 220 < column < 240


def test_the_side_bar_shows_states_and_leads_on(page: Any, served: SimpleNamespace) -> None:
    hands = Hands(page, SIZE)
    page.keyboard.press("1")
    hands.mouse((20, 20), (20, 60))
    version_is(served, "a", 1)
    page.locator("#images .state.work").wait_for()
    page.keyboard.press("n")
    page.locator("#place", has_text="b,").wait_for()
    page.keyboard.press("PageDown")
    page.locator("#place", has_text="c,").wait_for()
    page.keyboard.press("PageUp")
    page.locator("#place", has_text="b,").wait_for()
    assert page.inner_text("#progress") == "1 of 3 done"
    assert page.locator("[data-name=b]").get_attribute("aria-current") == "true"


def test_an_image_that_is_deleted_is_named_on_the_page(page: Any, served: SimpleNamespace) -> None:
    (served.root / "images" / "b.png").unlink()
    page.locator("#images button", has_text="b").click()
    page.locator("#error", has_text="b.png is missing; restore it").wait_for()
    page.locator("#images button", has_text="c").click()
    page.locator("#place", has_text="c,").wait_for()
    assert page.locator("#error").is_hidden()
