"""Chromium and servers of folders, for tests of pages."""

import http.server
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segmenter.extras.export.onnxruntime_web import VERSION
from tests.helpers.paths import REPOSITORY
from tests.helpers.waiting import wait_until

BROWSER = shutil.which("chromium")
ARTEFACTS = REPOSITORY / "build" / "screenshots"
AXE_VERSION = "4.10.3"
"""Version of axe-core, which finds what keeps people from using a page."""
PATIENCE = 120_000
"""Milliseconds to wait for what a page does: a busy machine is not a fault."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
SIZES = {"wide": (1280, 900), "phone": (390, 844)}
ADVISED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "connect-src 'self'; worker-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
"""Headers that `docs/how-to/browser.md` tells to send."""


def runtime_archive() -> Path:
    """ONNX Runtime for browsers, as `npm pack` wrote it; without it the test is skipped."""
    given = os.environ.get("ONNXRUNTIME_WEB")
    path = Path(given) if given else REPOSITORY / "build" / f"onnxruntime-web-{VERSION}.tgz"
    if not path.is_file():
        pytest.skip(
            f"needs {path.name}: `npm pack onnxruntime-web@{VERSION} --pack-destination build`"
        )
    return path


@contextmanager
def static_server(folder: Path, headers: dict[str, str] | None = None) -> Iterator[str]:
    """The address of a server that gives out a folder, as `python -m http.server` does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Patient(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A browser that closes before it has read all is not a fault."""

    with Patient(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window, and without a GPU."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        browser = launch(playwright.chromium, "--disable-gpu")
        yield browser
        browser.close()


def launch(kind: Any, *arguments: str) -> Any:
    """Start another browser; `kind` is the `browser_type` of a first one."""
    arguments = (*ARGUMENTS, *arguments)
    return kind.launch(executable_path=BROWSER, args=arguments, timeout=PATIENCE)


def new_page(browser: Any, **options: Any) -> Any:
    """A patient page in a context of its own; the options are those of Playwright."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE)
    return page


def wait_in(page: Any, is_so: Callable[[], object]) -> None:
    """Wait until something is so while requests of a page are held, or were."""
    # Asking the page for something is what lets its events in.
    wait_until(lambda: page.title() is not None and is_so())


def route(page: Any, address: str | re.Pattern[str], take: Callable[[Any], None]) -> None:
    """Have something take requests of a page, from now on.

    The renderer of an open page learns of it apart from the input that it gets, and may send
    requests past it. A page that is opened later begins with it.
    """
    page.route(address, take)
    if page.url == "about:blank":
        return
    page.route("**/*?probe", lambda probe: probe.fulfill(status=204))
    ask = "fetch(`${location.pathname}?probe`).then(({ status }) => status)"
    wait_until(lambda: page.evaluate(ask) == 204)


class Held:
    """Requests of a page that wait until they are let go.

    Args:
        page: A page.
        path: A part of their address.
    """

    def __init__(self, page: Any, path: str) -> None:
        self._page, self._held, self._holds = page, [], True
        route(page, re.compile(re.escape(path)), self._take)

    def wait(self) -> None:
        """Wait until there is one."""
        wait_in(self._page, lambda: self._held)

    def release(self) -> None:
        """Let them go, and hold no more."""
        self._end(lambda route: route.continue_())

    def fail(self) -> None:
        """Break their connections, and hold no more."""
        self._end(lambda route: route.abort())

    def _take(self, route: Any) -> None:
        if self._holds:
            self._held.append(route)
        else:
            route.continue_()

    def _end(self, answer: Callable[[Any], None]) -> None:
        self.wait()
        self._holds = False
        for route in self._held:
            answer(route)


def watch(page: Any) -> list[str]:
    """What goes wrong in a page: errors that are thrown, and those in its console."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    return problems


def axe_script() -> str:
    """The script of axe-core, as `npm pack` wrote it; without it the test is skipped."""
    path = REPOSITORY / "build" / f"axe-core-{AXE_VERSION}.tgz"
    if not path.is_file():
        pytest.skip(
            f"needs {path.name}: `npm pack axe-core@{AXE_VERSION} --pack-destination build`"
        )
    with tarfile.open(path) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def serious_findings(page: Any, axe: str) -> list[str]:
    """What axe-core finds serious or critical in a page."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
