"""The page's arithmetic in JavaScript: what an image is shown as, and labels from patch logits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmenter.extras.serving.page_files import browser_files
from segmenter.inference import Predictor
from segmenter.label_files.annotations.outlines import find_regions
from segmenter.model import Segmenter
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from tests.helpers.browser import BROWSER, chromium, new_page, static_server, watch
from tests.helpers.models import decided, make_spec
from tests.helpers.services import make_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]

LABEL = """
async ({ size, values, model }) => {
  const { scoreImage } = await import("./windows.js");
  const { confidencePixels, labelPixels } = await import("./maps.js");
  const run = async (pixels, size) => {
    const { values, shape } = await score(Array.from(pixels), size);
    return { values, numClasses: shape[0], grid: shape.slice(1) };
  };
  const { logits, axes } = await scoreImage({ size, channels: 3, values }, model, run, () => {});
  return [labelPixels, confidencePixels].map((map) => Array.from(map(logits, ...axes)));
}
"""
TRACE = """
async ([height, width, labels]) => {
  const { tracePolygons } = await import("./outlines.js");
  return tracePolygons({ height, width, labels: Uint16Array.from(labels) }, ["a", "b", "c"]);
}
"""
KEEP = """
async ([sizes, shown]) => {
  const { keep } = await import("./opened.js");
  const opened = [], closed = [];
  const entries = sizes.map(([height, width], index) => (
    { index, result: { height, width }, image: { close: () => closed.push(index) } }));
  entries.forEach((entry) => keep(opened, entry, entries[shown]));
  return [opened.map(({ index }) => index), closed];
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of the same origin as the modules, on which they can be tried."""
    folder: Path = tmp_path_factory.mktemp("page")
    for name, content in browser_files().items():
        (folder / name).write_bytes(content)
    (folder / "index.html").write_text("<!doctype html><link rel=icon href=data:,>")
    with static_server(folder) as address, chromium() as browser:
        opened = new_page(browser)
        problems = watch(opened)
        opened.goto(address)
        opened.models = []
        opened.expose_function("score", lambda pixels, size: score(opened.models[-1], pixels, size))
        yield opened
        assert not problems


@torch.inference_mode()
def score(model: Segmenter, pixels: list[float], size: list[int]) -> dict[str, Any]:
    """Patch logits of a picture that JavaScript made."""
    picture = torch.tensor(pixels).view(1, 3, *size)
    logits = model.patch_logits(model.normalize(picture))[0]
    return {"values": logits.flatten().tolist(), "shape": list(logits.shape)}


WINDOWS = {"window": 64, "stride": 40, "short_side": 72}
CASES = {
    "as it is": ((40, 56), EvaluationProtocol(), "pad-crop"),
    "enlarged": ((31, 50), EvaluationProtocol(short_side=64), "pad-crop"),
    "made smaller": (
        (200, 131),
        EvaluationProtocol(short_side=64, resize_dtype="float32"),
        "pad-squeeze",
    ),
    "long": ((9, 300), EvaluationProtocol(short_side=48, max_ratio=4), "stretch"),
    "half even": ((50, 75), EvaluationProtocol(short_side=49, rounding="half-even"), "pad-crop"),
    "windows": ((90, 130), EvaluationProtocol(**WINDOWS), "pad-crop"),
    "fading windows": ((130, 90), EvaluationProtocol(**WINDOWS, blend="linear"), "pad-squeeze"),
    "paper": (
        (37, 90),
        published_protocol("segmenter", window=64, stride=48, short_side=48),
        "pad-crop",
    ),
    "paddleseg": ((70, 91), published_protocol("paddleseg", window=48, short_side=80), "stretch"),
    "one pixel": ((1, 1), EvaluationProtocol(), "pad-crop"),
    "one row": ((1, 200), EvaluationProtocol(), "pad-crop"),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_and_confidence_are_pythons(page: Any, case: str) -> None:
    size, protocol, fit = CASES[case]
    spec = make_spec(7, size_policy=fit).model_copy(update={"protocol": protocol})
    torch.manual_seed(1)
    model = decided(Segmenter(spec).eval())
    page.models.append(model)
    image = make_image(*size, seed=5)
    facts = {"protocol": protocol.model_dump(mode="json"), "fit": fit, "cell": 16}
    given = {"size": size, "values": image.ravel().tolist(), "model": facts}
    labels, confidence = (np.array(found).reshape(size) for found in page.evaluate(LABEL, given))
    predictor = Predictor(model)
    assert (labels == predictor(image)).mean() >= 0.999
    expected = predictor.probabilities(image).max(axis=0)
    assert np.abs(confidence / 255 - expected).mean() <= 0.003


@pytest.mark.parametrize("seed", range(5))
def test_outlines_are_pythons(page: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    size = (int(random.integers(1, 24)), int(random.integers(1, 24)))
    labels = random.integers(0, 3, size).astype(np.uint8)
    found = page.evaluate(TRACE, [*size, labels.ravel().tolist()])
    shares = [(labels == each["index"]).mean() for each in found]
    assert shares == sorted(shares, reverse=True)
    assert [each["share"] for each in found] == pytest.approx(shares)
    assert {each["index"] for each in found} == set(np.unique(labels).tolist())
    for each in found:
        expected = [
            (region.outer.tolist(), [hole.tolist() for hole in region.holes])
            for region in find_regions(labels == each["index"])
        ]
        given = [(polygon["outer"], polygon["holes"]) for polygon in each["polygons"]]
        assert sorted(given) == sorted(expected)


@pytest.mark.parametrize(
    ("sizes", "shown", "kept"),
    [
        ([(10, 10)] * 30, 29, [*range(6, 30)]),
        ([(6000, 8000)] * 5, 4, [3, 4]),
        ([(6000, 8000)] * 5, 0, [0, 4]),
        ([(10, 10), (6000, 8000), (12_000, 10_000)], 2, [2]),
    ],
    ids=["many", "large", "the shown one stays", "one too large"],
)
def test_the_oldest_images_are_let_go_by_number_and_by_pixels(
    page: Any, sizes: list[tuple[int, int]], shown: int, kept: list[int]
) -> None:
    found, closed = page.evaluate(KEEP, [sizes, shown])
    assert found == kept
    assert sorted(found + closed) == [*range(len(sizes))]
