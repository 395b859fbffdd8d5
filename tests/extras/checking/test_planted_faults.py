"""Every kind of fault, planted into a clean data set: it is found, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes
from segmenter.data.masks.problems import KINDS
from segmenter.data.published.open_data import open_data
from segmenter.extras.checking.data_check import check
from tests.helpers.drawn_items import draw_mask
from tests.helpers.planted_faults import (
    IMAGE,
    PLANTED,
    check_folder,
    copy_image,
    cut,
    kinds,
    like_image,
    save_mask,
    scaled,
    without,
)


def test_a_clean_set_has_no_findings(clean: Path) -> None:
    found = check_folder(clean)
    assert found.findings == ()
    assert found.is_clean


@pytest.mark.parametrize(
    ("kind", "plant"), PLANTED, ids=[f"{kind}-{n}" for n, (kind, _) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_found_and_nothing_else(
    kind: str, plant: Callable[[Path], None], clean: Path
) -> None:
    plant(clean)
    found = check_folder(clean)
    assert kinds(found) == [kind]
    (finding,) = found.findings
    assert len(finding.problems) == 1
    assert "\n" not in finding.problems[0].message
    assert found.is_clean == (finding.severity == "note")


def test_every_kind_is_planted() -> None:
    assert {kind for kind, _ in PLANTED} | {"published-leak"} == set(KINDS)


def test_a_leak_of_a_published_data_set_is_a_warning(clean: Path) -> None:
    copy_image("val/d")(clean)
    data = replace(open_data(str(clean), keep_problems=True), is_published=True)
    assert kinds(check(data, "published", 0)) == ["published-leak"]


def test_unknown_values_are_counted_over_all_masks(clean: Path) -> None:
    for name, value, rows in (("train/a", 7, 10), ("train/b", 7, 5), ("val/d", 200, 1)):
        mask = draw_mask(0)
        mask[:rows] = value
        Image.fromarray(mask).save(clean / "masks" / f"{name}.png")
    (finding,) = check_folder(clean).findings
    seen = [(each.value, each.num_pixels, each.num_masks) for each in finding.values]
    assert seen == [(7, 15 * 128, 2), (200, 128, 1)]
    assert finding.values[0].example.endswith("train/a.png")


def test_unknown_colours_are_values_too(clean: Path) -> None:
    classes = Classes.model_validate(
        {"classes": [{"name": "g", "color": [0, 0, 0], "values": [[0, 0, 0]]}], "ignore": []}
    )
    (clean / "classes.yaml").write_text(classes.to_yaml())
    for path in (clean / "masks").rglob("*.png"):
        Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(path)
    mask = np.zeros((96, 128, 3), dtype=np.uint8)
    mask[:4] = (1, 2, 3)
    save_mask(clean, mask)
    finding = check_folder(clean).findings[0]
    assert finding.kind == "unknown-values"
    assert [(each.value, each.num_pixels) for each in finding.values] == [((1, 2, 3), 512)]


def test_many_faults_at_once_are_all_found(clean: Path) -> None:
    cut(IMAGE)(clean)
    without("masks/train/b.png")(clean)
    like_image("val/f", scaled)(clean)  # of an image that cannot be read any more
    copy_image("val/d")(clean)  # cut as well
    assert kinds(check_folder(clean)) == ["unreadable-photo", "photo-without-mask"]


@pytest.mark.slow
def test_camvid_has_nothing_but_the_frames_of_its_videos(camvid: Path) -> None:
    found = check_folder(camvid)
    assert kinds(found) == ["near-duplicate"]
    assert found.is_clean
    assert [split.num_usable for split in found.splits] == [367, 233, 101]
