"""The page of doubtful labels leads to the page of `label`, in a real browser."""

from pathlib import Path

import pytest

import segmenter
from segmenter.checkpoints import save
from segmenter.classes import read_classes
from segmenter.model import Segmenter
from tests.helpers.browser import BROWSER, chromium, new_page
from tests.helpers.data_sets import write_data_set
from tests.helpers.labelling import labelling
from tests.helpers.models import decided, make_spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]


def test_a_doubtful_region_opens_in_label_on_any_port(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "set", num_images=2, splits=("train",))
    model, report = tmp_path / "tiny.safetensors", tmp_path / "report"
    spec = make_spec(3).model_copy(update={"classes": read_classes(root / "classes.yaml")})
    save(decided(Segmenter(spec)), model)
    doubts = segmenter.check(root, workers=0, model=model, report=report).doubts
    assert doubts is not None
    first = doubts.to_json()["regions"][0]
    with labelling(root) as served, chromium() as browser:
        page = new_page(browser)
        page.goto((report / "index.html").as_uri())
        page.fill("#label-port", str(served.port))
        page.locator(f'.to-label[href$="{first["link"]}"]').first.click()
        page.locator("#place", has_text=f"{first['image']},").wait_for()
        assert page.url == f"http://127.0.0.1:{served.port}/#{first['image'].replace('/', '%2F')}"
