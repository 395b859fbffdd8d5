"""Exports that the tools' own writers made read as the tools' own readers read them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes, ClassInfo
from segmenter.data.annotations.convert_export import convert_annotations
from segmenter.data.annotations.recognise import recognise
from tests.helpers.annotation_exports import read_back
from tests.helpers.paths import GOLDEN

EXPORTED = GOLDEN / "annotations"
CLASSES = Classes(
    classes=tuple(
        ClassInfo(name=name, color=(index, 0, 0), values=(index,))
        for index, name in enumerate(["road", "tree", "car"])
    )
)
EXPORTS = [
    ("datumaro", "datumaro", "masks"),
    ("datumaro-coco", "coco", "masks"),
    ("datumaro-cvat", "cvat", "masks"),
    ("datumaro-voc", "voc", "masks"),
    ("datumaro-polygons", "datumaro", "polygons"),
    ("datumaro-polygons-coco", "coco", "polygons"),
    ("datumaro-polygons-cvat", "cvat", "polygons"),
    ("labelme", "labelme", "labelme"),
    ("pycocotools", "coco", "pycocotools"),
    ("label-studio", "label-studio", "masks"),
    ("supervisely", "supervisely", "supervisely"),
    ("supervision-yolo", "yolo", "supervision"),
    ("supervision-coco", "coco", "supervision"),
]


@pytest.mark.parametrize(("folder", "name", "truth"), EXPORTS)
def test_an_export_reads_as_its_tool_reads_it(
    folder: str, name: str, truth: str, tmp_path: Path
) -> None:
    source = EXPORTED / folder
    assert recognise(source) == name
    outlines = "centres" if truth == "supervision" else "edges"
    convert_annotations(name, source, tmp_path / "x", unlabelled="ignore", outlines=outlines)
    found = read_back(tmp_path / "x", CLASSES)
    assert {Path(stem).name for stem in found} == {"one", "two"}
    for stem, labels in found.items():
        values = np.array(Image.open(EXPORTED / f"truth/{truth}-{Path(stem).name}.png"))
        np.testing.assert_array_equal(np.where(labels == 255, 0, labels + 1), values)


def test_every_export_is_read() -> None:
    assert {path.name for path in EXPORTED.iterdir() if path.is_dir()} == {
        *(folder for folder, _, _ in EXPORTS),
        "truth",
    }
