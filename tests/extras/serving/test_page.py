"""The page in a real browser: an image in, its classes, the class under the pointer, files out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.browser import ARTEFACTS, BROWSER, SIZES, Held, chromium, new_page, watch
from tests.helpers.models import make_spec
from tests.helpers.services import Start, make_image
from tests.helpers.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, start: Start) -> Iterator[Any]:
    """The page of a service, in a window of each size; any error in its console fails the test."""
    served = start()
    width, height = SIZES[request.param]
    with chromium() as browser:
        opened = new_page(browser, viewport={"width": width, "height": height})
        problems = watch(opened)
        opened.goto(f"http://127.0.0.1:{served.port}/")
        opened.served, opened.expected_problems = served, 0
        opened.locator("#model", has_text="class-0").wait_for()
        yield opened
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=ARTEFACTS / f"{request.node.name}.png", full_page=True)
        assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert len(problems) == opened.expected_problems, problems


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "field <1>.png"
    Image.fromarray(make_image(120, 200, seed=3)).save(path)
    return path


def upload(page: Any, paths: Path | list[Path]) -> None:
    page.set_input_files("#file", paths)
    page.locator("#status", has_text="pixels").wait_for()


def test_an_upload_shows_shares_that_equal_the_predictors(page: Any, image_file: Path) -> None:
    upload(page, image_file)
    labels = page.served.predictor(np.array(Image.open(image_file)))
    counts = np.bincount(labels.ravel(), minlength=3)
    expected = {f"class-{i}": count / labels.size for i, count in enumerate(counts) if count}
    rows = [row.split("\n") for row in page.locator("#legend li").all_inner_texts()]
    shown = {name: float(share.strip(" %<")) / 100 for name, share in rows}
    assert shown == pytest.approx(expected, abs=0.0006)


def test_the_class_under_the_pointer_and_the_arrow_keys_is_named(
    page: Any, image_file: Path
) -> None:
    upload(page, image_file)
    labels = page.served.predictor(np.array(Image.open(image_file)))
    box = page.locator("#picture").bounding_box()
    for down, right in [(0.25, 0.25), (0.8, 0.6)]:
        page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
        at = labels[int(down * 120), int(right * 200)]
        assert page.inner_text("#hint") == f"class-{at}"
    page.focus("#picture")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#status").startswith("class-")


def test_downloads_hold_the_labels(page: Any, image_file: Path, tmp_path: Path) -> None:
    upload(page, image_file)
    labels = page.served.predictor(np.array(Image.open(image_file)))
    with page.expect_download() as download:
        page.click("#save-mask")
    download.value.save_as(tmp_path / "mask.png")
    saved, colors = Image.open(tmp_path / "mask.png"), page.served.predictor.classes.colors
    np.testing.assert_array_equal(np.array(saved), labels)
    np.testing.assert_array_equal(np.array(saved.convert("RGB")), colors[labels])
    with page.expect_download() as download:
        page.click("#save-polygons")
    download.value.save_as(tmp_path / "polygons.json")
    content = json.loads((tmp_path / "polygons.json").read_text())
    assert {each["index"] for each in content["classes"]} == set(np.unique(labels).tolist())


def test_every_view_can_be_shown_and_a_patch_be_clicked(page: Any, image_file: Path) -> None:
    upload(page, image_file)
    for view in ["compare", "confidence", "attention"]:
        page.check(f"input[value={view}]")
        page.locator("#progress").wait_for(state="hidden")
        assert page.is_hidden("#error")
    page.locator("#status", has_text="patch").wait_for()
    page.click("#picture", position={"x": 5, "y": 5})
    page.select_option("#layer", label="decoder 1")
    page.locator("#progress").wait_for(state="hidden")
    page.select_option("#origin", index=1)
    page.locator("#status", has_text="contributes to the class").wait_for()


def test_confidence_that_comes_late_is_not_shown_over_another_image(
    page: Any, image_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(make_image(90, 60)).save(other)
    upload(page, [image_file, other])
    page.evaluate(
        """() => {
          const make = window.createImageBitmap;
          window.createImageBitmap = async (...given) => {
            window.isHeld = true;
            await new Promise((resolve) => { window.release = resolve; });
            return make(...given);
          };
        }"""
    )
    page.check("input[value=confidence]")
    wait_until(lambda: page.evaluate("window.isHeld"))
    page.click("[aria-label='Show other']")
    page.evaluate("window.release()")
    page.locator("#progress").wait_for(state="hidden")
    assert page.inner_text("#status").startswith("60 x 90 pixels")


def test_a_file_that_is_no_image_is_said_in_one_sentence(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "<script>alert(1)</script>.jpg".replace("/", "")
    path.write_bytes(b"no image")
    page.expected_problems = 1  # the service is asked for a picture, and refuses
    page.set_input_files("#file", path)
    page.locator("#error", has_text="not an image").wait_for()


def test_a_file_that_is_no_image_stops_no_other(
    page: Any, image_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(b"no image")
    page.expected_problems = 1  # the service is asked for a picture, and refuses
    page.set_input_files("#file", [path, image_file])
    page.locator("#error", has_text="notes.png: ").wait_for()
    assert page.locator("#legend li").count() > 0


def test_the_camera_gives_an_image(page: Any) -> None:
    page.click("#camera")
    page.locator("#shoot").wait_for()
    page.click("#shoot")
    page.locator("#status", has_text="pixels").wait_for()


def test_an_image_may_be_given_before_the_classes_are_there(start: Start, image_file: Path) -> None:
    served = start()
    with chromium() as browser:
        opened = new_page(browser)
        problems, held = watch(opened), Held(opened, "/model.json")
        opened.goto(f"http://127.0.0.1:{served.port}/")
        with opened.expect_response("**/segment"):
            opened.set_input_files("#file", image_file)
        held.release()
        opened.locator("#status", has_text="pixels").wait_for()
        assert opened.locator("#legend li", has_text="class-").count() > 0
        assert not problems


@pytest.mark.parametrize(("license", "is_shown"), [("Ask my aunt.", True), ("", False)])
def test_the_licence_of_the_model_stands_below_the_title(
    start: Start, license: str, is_shown: bool
) -> None:
    served = start(Predictor(Segmenter(make_spec().model_copy(update={"license": license}))))
    with chromium() as browser:
        opened = new_page(browser)
        opened.goto(f"http://127.0.0.1:{served.port}/")
        opened.locator("#model", has_text="class-0").wait_for()
        shown = opened.locator("#license")
        assert shown.is_visible() == is_shown
        assert not is_shown or shown.inner_text() == f"Licence of the model: {license}"
