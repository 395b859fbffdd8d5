"""Every page passes axe-core: on a phone and in a wide window, light and dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from segmenter.training.log.curves import write_curves
from tests.helpers.browser import (
    ARTEFACTS,
    BROWSER,
    SIZES,
    axe_script,
    chromium,
    new_page,
    serious_findings,
    watch,
)
from tests.helpers.command_line import run
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]
COMMANDS = {
    "gallery": "predict data/images/val --gallery --out gallery --palette distinct --model",
    "evaluate": "evaluate {} data --split val --statistics --report evaluate",
    "compare": "compare {} {} data --split val --report compare",
    "check": "check data --report check",
    "doubts": "check data --model model.safetensors --report doubts",
    "explain": "explain data/images/val/photo-0.png --out explain --model",
}
PLACES = {name: f"{name}/index.html" for name in COMMANDS} | {"curves": "curves/curves.html"}
LOG = """\
{"step": 1, "train/loss": 2.4, "train/lr": 0.0001}
{"step": 2, "train/loss": 1.9, "train/lr": 0.0002}
{"step": 2, "val/miou": 0.31}
"""
PICTURES_THAT_MOVE_THE_PAGE = """[...document.images]
  .filter((each) => each.loading === "lazy")
  .filter((each) => !each.getAttribute("width") || !each.getAttribute("height"))
  .map((each) => each.alt)"""
"""Pictures that are loaded late, and take no place before."""


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core."""
    return axe_script()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each command that writes one."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data_set(Path("data"))
        mask = next(Path("data/masks/train").iterdir())
        Image.fromarray(np.full((64, 64), 9, dtype=np.uint8)).save(mask)
        model = Segmenter(make_spec(decoder="mask"))
        save(model, Path("model.safetensors"))
        for command in COMMANDS.values():
            words = command.replace("{}", "model.safetensors")
            words += " model.safetensors" if words.endswith("--model") else ""
            assert run(*words.split()) in (0, 3)
        Path("curves").mkdir()
        Path("curves/log.jsonl").write_text(LOG)
        write_curves(Path("curves"), "a run", 4)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PLACES)
def test_a_page_has_no_serious_finding_and_fits_the_window(
    name: str, size: str, scheme: str, written: Path, browser: Any, axe: str
) -> None:
    width, height = SIZES[size]
    page = new_page(browser, viewport={"width": width, "height": height}, color_scheme=scheme)
    problems = watch(page)
    page.goto((written / PLACES[name]).as_uri())
    assert serious_findings(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(PICTURES_THAT_MOVE_THE_PAGE) == []
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"{name}-{size}-{scheme}.png", full_page=True)
    page.close()
    assert problems == []
