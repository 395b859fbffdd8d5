"""The page of `label` passes axe-core: on a phone and in a wide window, light and dark."""

from pathlib import Path

import pytest

from tests.helpers.browser import BROWSER, SIZES, axe_script, chromium, new_page, serious_findings
from tests.helpers.label_page import Hands
from tests.helpers.labelling import Halves, labelling, with_classes, write_images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]
SIZE = (300, 400)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_has_no_serious_finding_and_fits_the_window(
    size: str, scheme: str, tmp_path: Path
) -> None:
    axe, root = axe_script(), write_images(tmp_path / "set", "a", "b", size=SIZE)
    width, height = SIZES[size]
    with labelling(root, Halves()) as served, chromium() as browser:
        page = new_page(browser, viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(f"http://127.0.0.1:{served.port}/#a")
        page.locator("#place", has_text="a,").wait_for()
        assert serious_findings(page, axe) == []
        with_classes(served.folder, "sky", "a class with a long name")
        page.reload()
        page.locator("#classes", has_text="long name").wait_for()
        page.locator("#place", has_text="a,").wait_for()
        Hands(page, SIZE).mouse((100, 50), (100, 150))
        page.locator("#status", has_text="saved").wait_for()
        assert serious_findings(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
