"""Masks with negative values or NaN where there are no data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes, read_classes
from segmenter.data.decoding.decode import decode_mask
from segmenter.data.masks.draft import draft_classes
from segmenter.data.masks.values import MaskError, map_values
from segmenter.data.pairing.items import Item
from tests.helpers.models import make_classes

LABELS = (np.arange(24 * 32) % 3).reshape(24, 32)
GDAL_NODATA = 42113


def write(folder: Path, value: float, kind: str, **options: object) -> Path:
    values = LABELS.astype(kind)
    values[0, :5] = value
    path = folder / "mask.tif"
    Image.fromarray(values).save(path, **options)
    return path


def with_ignored(*values: int) -> Classes:
    return make_classes(3).model_copy(update={"ignore": (255, *values)})


def labels_of(path: Path, classes: Classes) -> np.ndarray:
    return map_values(decode_mask(path), classes, str(path))


@pytest.mark.parametrize("value", [-1, -100, -9999, -32768])
@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_a_negative_value_can_be_ignored(value, kind, tmp_path: Path) -> None:
    path = write(tmp_path, value, kind)
    labels = labels_of(path, with_ignored(value))
    assert (labels[0, :5] == 255).all()
    assert np.array_equal(labels[1:], LABELS[1:])
    with pytest.raises(MaskError, match=rf'write "ignore: \[255, {value}\]"'):
        labels_of(path, make_classes(3))


def test_nan_is_always_ignored(tmp_path: Path) -> None:
    assert (labels_of(write(tmp_path, np.nan, "float32"), make_classes(3))[0, :5] == 255).all()


@pytest.mark.parametrize(("value", "kind"), [(-9999, "int32"), (-3.4028235e38, "float32")])
def test_what_a_geotiff_calls_no_data_is_ignored(value, kind, tmp_path: Path) -> None:
    path = write(tmp_path, value, kind, tiffinfo={GDAL_NODATA: str(value)})
    assert (labels_of(path, make_classes(3))[0, :5] == 255).all()


def test_negative_values_stand_in_the_file_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(
        "ignore: [255, -9999, -1.0, .nan]\nclasses: [{name: a, color: '#000', values: 0}]"
    )
    classes = read_classes(path)
    assert classes.ignore == (255, -9999, -1)
    path.write_text(classes.to_yaml())
    assert read_classes(path) == classes
    assert classes.grey_table()[[0, 1, 65535]].tolist() == [0, -1, -1]


def test_no_data_are_drafted_as_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, np.nan, "float32")
    item = Item("a", path, path)
    drafted = tmp_path / "classes.yaml"
    drafted.write_text(draft_classes([item]))
    assert read_classes(drafted).ignore == (255,)
    write(tmp_path, -9999, "float32")
    drafted.write_text(draft_classes([item]))
    assert read_classes(drafted).ignore == (255, -9999)
    assert len(read_classes(drafted)) == 3
