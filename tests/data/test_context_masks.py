"""The masks of Pascal Context are painted as those that published models were trained on."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segmenter.class_lists import read_class_list
from segmenter.data.annotations.rle import decode_region, unpack_runs
from segmenter.data.published import context_masks
from segmenter.data.published.context_masks import write_masks
from segmenter.data.published.open_data import open_data
from segmenter.errors import UserError
from tests.helpers.context_annotations import annotation, pack
from tests.helpers.published_tables import CONTEXT_CATEGORIES


def write_annotations(path: Path, annotations: list[dict], **changes: object) -> Path:
    entries = [
        {"image_id": 2008000008, "file_name": "2008_000008.jpg", "phase": "train"},
        {"image_id": 2008000002, "file_name": "2008_000002.jpg", "phase": "val"},
        {"image_id": 2008000001, "file_name": "2008_000001.jpg", "phase": "test"},
    ]
    images = [entry | {"height": 6, "width": 10} | changes for entry in entries]
    path.write_text(json.dumps({"images": images, "annos_segmentation": annotations}))
    return path


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
def test_a_region_comes_back_from_cocos_text(h: int, w: int, share: float, seed: int) -> None:
    region = np.random.default_rng(seed).random((h, w)) < share
    assert (decode_region(pack(region), (h, w)) == region).all()


def test_a_text_that_is_known_gives_its_runs() -> None:
    # By hand: 5; 40 = 8 + 32 * 1; 3; then 38 = 40 - 2 and 4 = 3 + 1.
    assert unpack_runs("5X13N1").tolist() == [5, 40, 3, 38, 4]


@pytest.mark.parametrize("counts", ["", "~", "`", "0P", "PPPPPPPPP0", "é"])
def test_a_text_that_is_none_is_refused(counts: str) -> None:
    with pytest.raises(ValueError, match=r"run length|ascii"):
        decode_region(counts, (6, 10))


def test_each_category_becomes_the_class_of_its_name() -> None:
    everywhere = np.ones((6, 10), dtype=bool)
    names = read_class_list("pascal_context").names
    for category, name in {0: "background", **CONTEXT_CATEGORIES}.items():
        painted = context_masks.paint([annotation(1, category, everywhere)], (6, 10))
        assert names[painted[0, 0]] == name


def test_masks_and_lists_are_written_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    left = np.zeros((6, 10), dtype=bool)
    left[:, :4] = True
    corner = np.zeros((6, 10), dtype=bool)
    corner[4:, 2:6] = True
    path = write_annotations(
        tmp_path / "trainval_merged.json",
        [annotation(2008000008, 2, left), annotation(2008000008, 458, corner)],
    )
    root = tmp_path / "VOC2010"
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_masks(path, root, stop)
    assert seen == [(1, 2)]
    first = root / "SegmentationClassContext/2008_000008.png"
    before = first.stat().st_mtime_ns
    assert not list((root / "ImageSets").rglob("*.txt"))

    write_masks(path, root, lambda _done, _total: None)
    assert first.stat().st_mtime_ns == before
    expected = np.where(corner, 59, np.where(left, 1, 0))
    assert (np.array(Image.open(first)) == expected).all()
    assert not np.array(Image.open(root / "SegmentationClassContext/2008_000002.png")).any()
    assert not (root / "SegmentationClassContext/2008_000001.png").exists()
    lists = root / "ImageSets/SegmentationContext"
    assert (lists / "train.txt").read_text() == "2008_000008\n"
    assert (lists / "val.txt").read_text() == "2008_000002\n"

    (root / "JPEGImages").mkdir()
    for name in ("2008_000008", "2008_000002"):
        Image.new("RGB", (10, 6)).save(root / "JPEGImages" / f"{name}.jpg")
    assert [item.name for item in open_data(f"pascal_context_59:{root}").items("val")] == [
        "2008_000002"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is damaged or not a file of annotations"),
        (
            '{"images": []}',
            "is damaged or not a file of annotations: KeyError 'annos_segmentation'",
        ),
        (
            '{"images": [{"phase": "val", "file_name": "../a.jpg"}], "annos_segmentation": []}',
            r"\.\.",
        ),
    ],
)
def test_another_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trainval_merged.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        write_masks(path, tmp_path / "VOC2010", lambda _done, _total: None)


def test_unknown_categories_and_regions_of_another_size_are_refused(tmp_path: Path) -> None:
    region = np.ones((6, 10), dtype=bool)
    for changed, message in (
        (annotation(2008000008, 3, region), "category 3 is none of the 59"),
        (annotation(2008000008, 2, region[:3]), r"a region of \[3, 10\] pixels"),
    ):
        path = write_annotations(tmp_path / "trainval_merged.json", [changed])
        with pytest.raises(UserError, match=message):
            write_masks(path, tmp_path / "VOC2010", lambda _done, _total: None)
