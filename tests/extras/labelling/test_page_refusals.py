"""What the page says and keeps when the service refuses or does not answer, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import BROWSER, route
from tests.helpers.label_page import Hands, open_page, version_is
from tests.helpers.labelling import labelling, with_classes, write_images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

SIZE = (300, 400)
ASKS_BEFORE_LEAVING = """() => {
    const event = new Event("beforeunload", { cancelable: true });
    dispatchEvent(event);
    return event.defaultPrevented;
}"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[SimpleNamespace]:
    root = write_images(tmp_path / "set", "a", "b", size=SIZE)
    with labelling(root) as served:
        with_classes(served.folder, "sky", "road")
        served.root = root
        yield served


@pytest.fixture
def page(served: SimpleNamespace) -> Iterator[Any]:
    with open_page(served.port, "a") as opened:
        yield opened


def test_an_image_that_vanishes_is_told_of_and_painted_on_once_it_is_back(
    page: Any, served: SimpleNamespace
) -> None:
    hands, path = Hands(page, SIZE), served.root / "images" / "a.png"
    away = path.rename(served.root / "a.png")
    hands.mouse((100, 50), (100, 150))
    page.locator("#status", has_text="nothing can be painted until").wait_for()
    hands.mouse((200, 50), (200, 150))
    page.keyboard.press("n")
    assert "is missing; restore it" in page.inner_text("#error")
    away.rename(path)
    page.locator("#status", has_text="nothing can be painted").wait_for(state="detached")
    hands.mouse((150, 50), (150, 150))
    version_is(served, "a", 1)
    assert page.locator("#error").is_hidden()


def test_a_mask_that_cannot_be_taken_over_is_asked_about_until_it_is(
    page: Any, served: SimpleNamespace
) -> None:
    (served.root / "masks").mkdir()
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(served.root / "masks" / "b.png")
    page.reload()
    page.click("[data-name=b]")
    page.click("#take-mask")
    page.locator("#error", has_text="9 x 7").wait_for()
    assert page.locator("#foreign").is_visible()
    page.click("#replace-mask")
    version_is(served, "b", 1)
    page.locator("#foreign").wait_for(state="hidden")


def test_strokes_of_another_image_that_are_not_saved_keep_the_page(
    page: Any, served: SimpleNamespace
) -> None:
    hands = Hands(page, SIZE)
    route(page, "**/api/stroke", lambda stroke: stroke.abort())
    hands.mouse((100, 50), (100, 150))
    hands.mouse((200, 50), (200, 150))
    page.locator("#status", has_text="2 not saved yet").wait_for()
    page.click("[data-name=b]")
    page.locator("#place", has_text="b,").wait_for()
    hands.mouse((100, 50), (100, 150))
    page.locator("#status", has_text="3 not saved yet").wait_for()
    assert page.evaluate(ASKS_BEFORE_LEAVING)
    page.unroute("**/api/stroke")
    version_is(served, "a", 2, page)
    version_is(served, "b", 1, page)
    page.get_by_text("saved", exact=True).wait_for()
    assert not page.evaluate(ASKS_BEFORE_LEAVING)
