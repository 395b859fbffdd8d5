"""Masks as NumPy arrays."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.decoding.decode import Limits, decode_image, decode_mask, read_header
from segmenter.data.folder import open_folder, read_sample
from segmenter.errors import UserError
from tests.helpers.models import make_classes

VALUES = (np.arange(24 * 32) % 3).reshape(24, 32)


def write(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


@pytest.mark.parametrize("kind", ["uint8", "bool", "int64", "<f4", ">i2", "uint16"])
def test_arrays_of_whole_numbers_are_read(kind, tmp_path: Path) -> None:
    path = write(tmp_path / "mask.npy", (VALUES > 0 if kind == "bool" else VALUES).astype(kind))
    expected = VALUES > 0 if kind == "bool" else VALUES
    assert np.array_equal(decode_mask(path), expected)
    assert read_header(path).size == (24, 32)


def test_columns_first_and_a_last_side_of_1_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.npy", np.asfortranarray(VALUES.astype(np.uint8))[:, :, None])
    assert np.array_equal(decode_mask(path), VALUES)


def test_colours_are_read(tmp_path: Path) -> None:
    colors = np.dstack([VALUES, VALUES + 1, VALUES * 100])
    assert np.array_equal(decode_mask(write(tmp_path / "mask.npy", colors)), colors)
    with pytest.raises(UserError, match="below 0"):
        decode_mask(write(tmp_path / "mask.npy", colors - 1))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (VALUES + 0.5, "holds 0.5"),
        (VALUES + 70000, "holds 7000"),
        (np.zeros((3, 24, 32), np.uint8), "uint8 of 3 x 24 x 32"),
        (np.zeros((2, 24, 32, 3), np.uint8), "2 x 24 x 32 x 3"),
        (np.zeros(5, np.uint8), "uint8 of 5"),
        (np.zeros((0, 4), np.uint8), "0 x 4"),
        (np.zeros((4, 4), "U3"), "objects of 4 x 4"),
        (np.zeros((4, 4), complex), "complex128"),
    ],
)
def test_other_arrays_are_refused(values, said, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        decode_mask(write(tmp_path / "mask.npy", values))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_objects_are_refused_and_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": (1, 1), "fortran_order": False, "descr": "|O"}
    )
    path.write_bytes(file.getvalue() + pickle.dumps([Bomb()]))
    with pytest.raises(UserError, match="objects of 1 x 1"):
        decode_mask(path)


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    file = io.BytesIO()
    shape = (1 << 20, 1 << 20)
    header = {"shape": shape, "fortran_order": False, "descr": "|u1"}
    np.lib.format.write_array_header_1_0(file, header)
    path.write_bytes(file.getvalue())
    with pytest.raises(UserError, match="pixels"):
        decode_mask(path)
    whole = write(path, VALUES.astype(np.uint8)).read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="cut or damaged"):
        decode_mask(path)
    path.write_bytes(whole[:20])
    with pytest.raises(UserError, match=r"mask\.npy"):
        decode_mask(path)
    with pytest.raises(UserError, match="at most 100 are read"):
        decode_mask(write(path, VALUES), limits=Limits(max_pixels=100))


def test_a_folder_of_such_masks_is_a_data_set_and_an_image_is_none(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (32, 24)).save(tmp_path / "images" / "a.png")
    write(tmp_path / "masks" / "a.npy", VALUES)
    (item,) = open_folder(tmp_path, make_classes(3)).items("all")
    assert np.array_equal(read_sample(item, make_classes(3)).labels, VALUES)
    with pytest.raises(UserError, match="a NumPy array"):
        decode_image(tmp_path / "masks" / "a.npy")
