"""The served page passes axe-core: on a phone and in a wide window, light and dark."""

from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.browser import BROWSER, SIZES, axe_script, chromium, new_page, serious_findings
from tests.helpers.services import Start, make_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_served_page_has_no_serious_finding(
    size: str, scheme: str, start: Start, tmp_path: Path
) -> None:
    axe, served = axe_script(), start()
    Image.fromarray(make_image(120, 200, seed=3)).save(tmp_path / "field.png")
    width, height = SIZES[size]
    with chromium() as browser:
        page = new_page(browser, viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(f"http://127.0.0.1:{served.port}/")
        page.set_input_files("#file", tmp_path / "field.png")
        page.locator("#status", has_text="pixels").wait_for()
        for view in ("overlay", "confidence"):
            page.check(f"input[value={view}]")
            page.locator("#progress").wait_for(state="hidden")
            assert serious_findings(page, axe) == []
