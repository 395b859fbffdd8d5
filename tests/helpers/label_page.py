"""The hands of a person on the page of `label`: mouse, pen and fingers, at pixels of the image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.helpers.browser import chromium, new_page, wait_in
from tests.helpers.waiting import wait_until

Pixel = tuple[float, float]
"""Row and column."""
_STEPS = 6


@contextmanager
def open_page(port: int, name: str) -> Iterator[Any]:
    """The page in a browser of its own, once it shows an image."""
    with chromium() as browser:
        page = new_page(browser, viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/#{name}")
        page.locator("#place", has_text=f"{name},").wait_for()
        yield page


class Hands:
    """Mouse, pen and fingers on an image that the page shows whole.

    Args:
        page: An open page of the service.
        size: Height and width of the image.
    """

    def __init__(self, page: Any, size: tuple[int, int]) -> None:
        self.page, self._size = page, size
        self._session = page.context.new_cdp_session(page)

    def place(self, pixel: Pixel) -> tuple[float, float]:
        """Where in the window the centre of a pixel is seen."""
        box = self.page.locator("#canvas").bounding_box()
        height, width = self._size
        scale = min(box["width"] / width, box["height"] / height)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + (pixel[1] + 0.5) * scale, top + (pixel[0] + 0.5) * scale

    def mouse(self, *pixels: Pixel) -> None:
        """Draw with the mouse; a single pixel is a click."""
        places = [self.place(pixel) for pixel in pixels]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=_STEPS)
        self.page.mouse.up()

    def pen(self, *pixels: Pixel, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Draw with a pen whose pressure rises; something else happens before its last move."""
        places = [self.place(pixel) for pixel in pixels]
        self._pen("mousePressed", places[0], 0.1)
        for number, place in enumerate(places[1:], start=1):
            if number == len(places) - 1:
                meanwhile()
            self._pen("mouseMoved", place, number / len(places))
        self._pen("mouseReleased", places[-1], 0.0)

    @contextmanager
    def palm(self, pixel: Pixel) -> Iterator[None]:
        """Rest a palm on the screen."""
        self._touch("touchStart", np.array([self.place(pixel)]))
        yield
        self._touch("touchEnd", np.empty((0, 2)))

    def fingers(self, *paths: tuple[Pixel, Pixel]) -> None:
        """Move a finger along each line from one pixel to another, all at once."""
        places = np.array([[self.place(end) for end in path] for path in paths])
        self._touch("touchStart", places[:, 0])
        for step in range(1, _STEPS + 1):
            self._touch("touchMove", places[:, 0] + (places[:, 1] - places[:, 0]) * step / _STEPS)
        self._touch("touchEnd", places[:0, 0])

    def _pen(self, kind: str, place: tuple[float, float], force: float) -> None:
        event = {"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        event |= {"buttons": int(kind != "mouseReleased"), "pointerType": "pen", "force": force}
        self._session.send("Input.dispatchMouseEvent", event)

    def _touch(self, kind: str, places: np.ndarray) -> None:
        points = [{"x": float(x), "y": float(y), "id": at} for at, (x, y) in enumerate(places)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@contextmanager
def tablet(browser: Any) -> Iterator[Any]:
    """A page of a tablet's size, with touch and coarse pointers."""
    page = new_page(
        browser, viewport={"width": 820, "height": 1180}, has_touch=True, is_mobile=True
    )
    yield page
    page.context.close()


def settle(page: Any) -> None:
    """Wait until the service has answered what a page asked so far, and a little more."""
    for _ in range(2):
        page.evaluate("fetch('api/folder').then((answer) => answer.text())")


def labels_of(served: Any, size: tuple[int, int], name: str = "a") -> np.ndarray:
    """The labels that the service has of an image."""
    answer = served.client.get("/api/labels", params={"image": name})
    return np.frombuffer(answer.content, np.uint8).reshape(size)


def version_is(served: Any, name: str, version: int, page: Any = None) -> None:
    """Wait until an image has a version; name the page where its requests are held, or were."""

    def is_so() -> bool:
        return served.folder.versions().get(name, 0) == version

    wait_in(page, is_so) if page else wait_until(is_so)
