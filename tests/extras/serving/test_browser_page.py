"""The page that computes in the browser, given out by a server of files, in real Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.checkpoints import load, save
from segmenter.commands.export import export
from segmenter.data.decoding.decode import decode_image
from segmenter.extras.export.formats import ExportOptions
from segmenter.inference import Predictor
from segmenter.model import Segmenter
from segmenter.model.protocol import EvaluationProtocol
from tests.helpers.browser import (
    ADVISED,
    ARTEFACTS,
    BROWSER,
    SIZES,
    Held,
    chromium,
    launch,
    new_page,
    runtime_archive,
    static_server,
    watch,
)
from tests.helpers.models import decided, make_spec
from tests.helpers.paths import REPOSITORY
from tests.helpers.services import make_image
from tests.helpers.skips import NOT_HERE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

SOFTWARE_GPU = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--ignore-gpu-blocklist",
]


def export_page(model: Segmenter, folder: Path) -> Path:
    """Write a model's page; gives its folder."""
    save(model, folder / "tiny.safetensors")
    archive = runtime_archive()
    options = ExportOptions(format="web", onnxruntime_web=archive)
    export(str(folder / "tiny.safetensors"), folder / "page", options=options)
    return folder / "page"


@pytest.fixture(scope="module")
def model() -> Segmenter:
    """Windows, of a size that is not a multiple of the patch; three classes that are far apart."""
    torch.manual_seed(0)
    protocol = EvaluationProtocol(short_side=110, window=90, stride=60)
    return decided(Segmenter(make_spec().model_copy(update={"protocol": protocol})).eval())


@pytest.fixture(scope="module")
def site(model: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_page(model, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "field.png"
    Image.fromarray(make_image(120, 200, seed=3)).save(path)
    return path


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, site: Path, browser: Any) -> Iterator[Any]:
    """The page, ready, in a window of each size; any error in its console fails the test."""
    width, height = SIZES[request.param]
    opened = new_page(browser, viewport={"width": width, "height": height})
    problems = watch(opened)
    with static_server(site) as address:
        opened.goto(address)
        ready(opened)
        yield opened
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=ARTEFACTS / f"{request.node.name}.png", full_page=True)
        opened.close()
    assert not problems


def ready(page: Any) -> None:
    page.locator("#status", has_text="Ready").wait_for()


def label(page: Any, path: Path, to: Path) -> np.ndarray:
    """The label map that the page gives for an image."""
    page.set_input_files("#file", path)
    page.locator("#status", has_text="pixels").wait_for()
    with page.expect_download() as download:
        page.click("#save-mask")
    download.value.save_as(to / "mask.png")
    return np.array(Image.open(to / "mask.png"))


def test_labels_agree_with_pythons_and_so_do_shares_and_outlines(
    page: Any, model: Segmenter, image_file: Path, tmp_path: Path
) -> None:
    found = label(page, image_file, tmp_path)
    expected = Predictor(model)(np.array(Image.open(image_file)))
    assert (found == expected).mean() >= 0.99
    counts = np.bincount(found.ravel(), minlength=3)
    shares = {f"class-{i}": count / found.size for i, count in enumerate(counts) if count}
    rows = [row.split("\n") for row in page.locator("#legend li").all_inner_texts()]
    shown = {name: float(share.strip(" %<")) / 100 for name, share in rows}
    assert shown == pytest.approx(shares, abs=0.0006)
    with page.expect_download() as download:
        page.click("#save-polygons")
    download.value.save_as(tmp_path / "polygons.json")
    content = json.loads((tmp_path / "polygons.json").read_text())
    assert {each["name"]: each["share"] for each in content["classes"]} == pytest.approx(shares)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_model_that_classifies_masks_labels_as_in_python(
    browser: Any, image_file: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Segmenter(make_spec(decoder="eomt")).eval()
    with torch.no_grad():
        for layer in (model.decoder.classify, model.decoder.embed[-1]):
            layer.weight.mul_(50)  # so that classes and masks differ as a trained model's do
    site, page = export_page(model, tmp_path), new_page(browser)
    with static_server(site) as address:
        page.goto(address)
        ready(page)
        found = label(page, image_file, tmp_path)
        page.close()
    expected = Predictor(model)(np.array(Image.open(image_file)))
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() >= 0.99


def test_confidence_is_shown_and_attention_is_not_offered(page: Any, image_file: Path) -> None:
    page.set_input_files("#file", image_file)
    page.locator("#status", has_text="pixels").wait_for()
    assert page.is_hidden("input[value=attention]")
    page.check("input[value=confidence]")
    page.locator("#status", has_text="Bright: sure").wait_for()


def test_the_keyboard_is_enough(page: Any, image_file: Path) -> None:
    page.set_input_files("#file", image_file)
    page.locator("#status", has_text="pixels").wait_for()
    page.keyboard.press("Tab")
    for _ in range(30):
        if page.evaluate("document.activeElement.id") == "picture":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#status").startswith("class-")


def test_a_text_file_that_is_dropped_is_said_in_one_sentence(page: Any, image_file: Path) -> None:
    page.evaluate(
        """() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["no image"], "notes.txt", { type: "text/plain" }));
          dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }"""
    )
    page.locator("#error", has_text="cannot read").wait_for()
    page.set_input_files("#file", image_file)
    page.locator("#status", has_text="pixels").wait_for()
    assert page.is_hidden("#error")


@pytest.mark.parametrize(
    ("headers", "words"), [({}, "on one thread: for more"), (ADVISED, "threads.")]
)
def test_the_page_says_how_many_threads_the_headers_allow(
    site: Path, browser: Any, image_file: Path, headers: dict[str, str], words: str
) -> None:
    page = new_page(browser)
    problems = watch(page)
    with static_server(site, headers) as address:
        page.goto(address)
        ready(page)
        if page.evaluate("navigator.hardwareConcurrency") > 1:
            assert words in page.inner_text("#note")
        page.set_input_files("#file", image_file)
        page.locator("#status", has_text="pixels").wait_for()
        page.close()
    assert not problems


def test_one_runtime_alone_is_fetched_and_nothing_from_elsewhere(site: Path, browser: Any) -> None:
    page = new_page(browser)
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    with static_server(site) as address:
        page.goto(address)
        ready(page)
        page.close()
    assert all(each.startswith((address, "data:")) for each in addresses)
    assert any("onnxruntime-wasm.wasm" in each for each in addresses)
    assert not any("webgpu" in each for each in addresses)


def test_a_bar_shows_how_much_has_come(site: Path, browser: Any) -> None:
    page = new_page(browser)
    held = Held(page, "/model.onnx")
    with static_server(site) as address:
        page.goto(address)
        page.locator("#status", has_text="Loading the model, ").wait_for()
        bar = "document.getElementById('progress')"
        page.wait_for_function(f"!{bar}.hidden && 0 < {bar}.value && {bar}.value < 1")
        held.release()
        ready(page)
        assert page.is_hidden("#progress")
        page.close()


@pytest.mark.parametrize("name", ["model.onnx", "onnxruntime-wasm.js", "onnxruntime-wasm.wasm"])
def test_a_file_that_is_not_the_exported_one_is_refused_unused(
    site: Path, browser: Any, name: str
) -> None:
    content = bytearray((site / name).read_bytes())
    content[len(content) // 2] ^= 1
    page = new_page(browser)
    page.route(f"**/{name}*", lambda route: route.fulfill(body=bytes(content)))
    with static_server(site) as address:
        page.goto(address)
        page.locator("#error", has_text=f"{name} is damaged or from another export").wait_for()
        page.close()


def test_a_browser_that_computes_something_else_is_refused(site: Path, browser: Any) -> None:
    facts = json.loads((site / "model.json").read_text())
    pixels = facts["check"]["pixels"]
    facts["check"]["pixels"] = pixels[: len(pixels) // 8 * 4][::-1] + pixels[len(pixels) // 8 * 4 :]
    page = new_page(browser)
    page.route("**/model.json", lambda route: route.fulfill(json=facts))
    with static_server(site) as address:
        page.goto(address)
        page.locator("#error", has_text="gives other labels").wait_for()
        page.close()


def test_where_the_graphics_processor_fails_the_processor_takes_over(
    site: Path, browser: Any, image_file: Path
) -> None:
    page = new_page(browser)
    script = (site / "runtime.js").read_text()
    hopeful = script.replace("adapter && !adapter.info.isFallbackAdapter", "true")
    assert hopeful != script
    kind = "text/javascript"
    page.route("**/runtime.js", lambda route: route.fulfill(body=hopeful, content_type=kind))
    with static_server(site) as address:
        page.goto(address)
        ready(page)
        assert "Its GPU failed" in page.inner_text("#note")
        page.set_input_files("#file", image_file)
        page.locator("#status", has_text="pixels").wait_for()
        page.close()


def test_webgpu_agrees_where_chromium_has_it_in_software(
    site: Path, browser: Any, model: Segmenter, image_file: Path, tmp_path: Path
) -> None:
    other = launch(browser.browser_type, *SOFTWARE_GPU)
    page = new_page(other)
    with static_server(site, ADVISED) as address:
        problems = watch(page)
        page.goto(f"{address}/?backend=webgpu")
        if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            other.close()
            pytest.skip(f"{NOT_HERE}: a Chromium that has WebGPU in software")
        ready(page)
        assert "(WebGPU)" in page.inner_text("#note")
        found = label(page, image_file, tmp_path)
        other.close()
    expected = Predictor(model)(np.array(Image.open(image_file)))
    assert (found == expected).mean() >= 0.99
    assert not problems


def test_the_guide_names_the_headers_that_are_tested() -> None:
    guide = " ".join((REPOSITORY / "docs/how-to/browser.md").read_text(encoding="utf-8").split())
    for name, value in ADVISED.items():
        assert f'add_header {name} "{value}";' in guide


@pytest.mark.skipif(not (REPOSITORY / "examples").is_dir(), reason=f"{NOT_HERE}: the repository")
def test_street_is_small_enough_and_agrees_on_a_image(browser: Any, tmp_path: Path) -> None:
    street = load("street")
    # A third of its usual size, for which WebAssembly takes seconds and not a minute.
    protocol = street.spec.protocol.model_copy(update={"short_side": 224})
    street.spec = street.spec.model_copy(update={"protocol": protocol})
    folder = export_page(street, tmp_path)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    for other in ("wasm", "webgpu"):
        used = sum(size for name, size in sizes.items() if f"onnxruntime-{other}." not in name)
        assert used <= 75e6
    path = REPOSITORY / "examples" / "street.jpg"
    with static_server(folder, ADVISED) as address:
        page = new_page(browser)
        page.goto(address)
        ready(page)
        found = label(page, path, tmp_path)
        page.close()
    assert (found == Predictor(street)(decode_image(path))).mean() >= 0.99
