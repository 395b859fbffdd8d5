"""The page in a real browser: paint, undo, accept, next, two windows, a service that is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from segmenter.checkpoints import save
from segmenter.data.decoding.decode import decode_image
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.browser import ARTEFACTS, BROWSER, chromium, new_page, watch
from tests.helpers.labelling import read_mask, write_images
from tests.helpers.models import make_spec
from tests.helpers.ports import free_port
from tests.helpers.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

SIZE = (300, 400)


@contextmanager
def label_process(root: Path, port: int, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `segmenter label` until the block ends."""
    command = [sys.executable, "-m", "segmenter", "label", str(root), "--port", str(port), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def is_up() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/api/folder").is_success
        return False

    try:
        wait_until(lambda: process.poll() is not None or is_up(), 600)
        assert process.poll() is None
        yield process
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Any]:
    with chromium() as browser:
        opened = new_page(browser, viewport={"width": 1280, "height": 800})
        yield opened
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=ARTEFACTS / f"{request.node.name}.png")
        assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def add_classes(page: Any, *names: str) -> None:
    for name in names:
        page.fill("#class-name", name)
        page.keyboard.press("Enter")
        page.locator("#classes", has_text=name).wait_for()
        page.locator("#canvas:focus").wait_for()  # keys are no longer typed into the name


def drag(page: Any, *points: tuple[float, float]) -> None:
    """Draw through points, given as shares of the canvas."""
    box = page.locator("#canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def version_of(port: int, name: str) -> int:
    answer = httpx.get(f"http://127.0.0.1:{port}/api/open", params={"image": name}, timeout=120)
    return answer.json()["version"]


def test_paint_undo_accept_next_and_reload_after_a_kill(page: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "set", "a", "b", size=SIZE)
    model, port = tmp_path / "tiny.safetensors", free_port()
    save(Segmenter(make_spec(3)), model)
    problems = watch(page)
    with label_process(root, port, "--model", str(model)) as process:
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#proposal-status", has_text=" ms").wait_for()
        page.keyboard.press("2")
        drag(page, (0.4, 0.4), (0.6, 0.4), (0.6, 0.6))
        wait_until(lambda: version_of(port, "a") == 1)
        page.keyboard.press("p")
        for point in ((0.45, 0.7), (0.55, 0.7), (0.5, 0.85)):
            drag(page, point)
        page.keyboard.press("Enter")
        wait_until(lambda: version_of(port, "a") == 2)
        page.keyboard.press("Control+z")
        wait_until(lambda: version_of(port, "a") == 3)
        page.locator("#proposal-status", has_text=" ms").wait_for()
        page.click("#accept")
        wait_until(lambda: version_of(port, "a") == 4)
        process.kill()
    process.wait()
    with label_process(root, port, "--model", str(model)):
        page.reload()
        page.locator("#proposal-status", has_text=" ms").wait_for()
        page.keyboard.press("n")
        page.locator("#place", has_text="b,").wait_for()
        assert page.inner_text("#progress") == "1 of 2 done"
    mask = read_mask(root, "a")
    predicted = Predictor(str(model))(decode_image(root / "images" / "a.png"))
    painted = mask != predicted
    assert 0.005 < painted.mean() < 0.2
    assert (mask[painted] == 1).all()
    assert all("net::ERR_" in each for each in problems)  # while nobody answered


def test_strokes_wait_for_a_service_that_comes_back_and_two_windows_agree(
    page: Any, tmp_path: Path
) -> None:
    root, port = write_images(tmp_path / "set", "a", size=SIZE), free_port()
    with label_process(root, port) as process:
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#status", has_text="add a class").wait_for()
        add_classes(page, "sky", "road")
        drag(page, (0.3, 0.3), (0.6, 0.3))
        wait_until(lambda: version_of(port, "a") == 1)
        process.kill()
        process.wait()
        drag(page, (0.3, 0.5), (0.6, 0.5))
        drag(page, (0.3, 0.7), (0.6, 0.7))
        page.locator("#status", has_text="does not answer").wait_for()
    with label_process(root, port):
        wait_until(lambda: version_of(port, "a") == 3)
        other = new_page(page.context.browser)
        other.route("**/api/news*", lambda route: route.abort())
        other.goto(f"http://127.0.0.1:{port}/#a")
        other.locator("#place", has_text="a,").wait_for()
        drag(page, (0.4, 0.2), (0.4, 0.8))
        wait_until(lambda: version_of(port, "a") == 4)
        other.keyboard.press("1")
        drag(other, (0.5, 0.2), (0.5, 0.8))
        other.locator("#error", has_text="version 3 of this image was changed").wait_for()
        other.locator("#done:enabled").wait_for()  # the newest version is shown
        drag(other, (0.5, 0.2), (0.5, 0.8))
        wait_until(lambda: version_of(port, "a") == 5)
        other.keyboard.press("e")
        drag(other, (0.5, 0.4), (0.55, 0.4))
        wait_until(lambda: version_of(port, "a") == 6)
    mask = read_mask(root, "a")
    assert set(np.unique(mask)) == {0, 1, 255}


def test_a_window_soon_shows_what_another_did_and_both_paint_on(page: Any, tmp_path: Path) -> None:
    root, port = write_images(tmp_path / "set", "a", size=SIZE), free_port()
    with label_process(root, port):
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#status", has_text="add a class").wait_for()
        other = new_page(page.context.browser)
        problems = watch(other)
        other.goto(f"http://127.0.0.1:{port}/#a")
        other.locator("#place", has_text="a,").wait_for()
        add_classes(page, "sky", "road")
        other.locator("#classes", has_text="road").wait_for()
        page.keyboard.press("1")
        drag(page, (0.3, 0.3), (0.6, 0.3))
        other.locator("#status", has_text="changed in another window").wait_for()
        assert other.locator("#undo").is_enabled()
        other.keyboard.press("2")
        drag(other, (0.3, 0.5), (0.6, 0.5))
        wait_until(lambda: version_of(port, "a") == 2)
        page.locator("#status", has_text="changed in another window").wait_for()
        page.keyboard.press("Control+z")  # the stroke of the other window
        wait_until(lambda: version_of(port, "a") == 3)
        assert other.locator("#error").is_hidden()
    assert set(np.unique(read_mask(root, "a"))) == {0, 255}
    # 422: too early to propose; 409: asked for what the other window has just changed.
    expected = ("status of 422", "status of 409")
    assert not [each for each in problems if not any(status in each for status in expected)]
