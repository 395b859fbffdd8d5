"""Arrays are images where a folder holds no others."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.folder import open_folder
from segmenter.data.pairing.find_images import find_images
from tests.helpers.models import make_classes


def write_arrays(folder: Path, suffix: str = ".npy") -> None:
    folder.mkdir(parents=True)
    for name in "ab":
        with (folder / f"{name}{suffix}").open("wb") as file:
            np.save(file, np.zeros((8, 8, 4), np.uint16))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_data_set_of_arrays_is_paired(tmp_path: Path, suffix: str) -> None:
    write_arrays(tmp_path / "images", suffix)
    (tmp_path / "masks").mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "classes.yaml").write_text(make_classes(2).to_yaml())
    found = open_folder(tmp_path, keep_problems=True)
    assert [item.image.name for item in found.items("all")] == [f"a{suffix}", f"b{suffix}"]
    assert found.problems == ()


def test_a_folder_of_arrays_alone_is_searched(tmp_path: Path) -> None:
    write_arrays(tmp_path / "in")
    passed_over: Counter[str] = Counter()
    found = find_images([str(tmp_path / "in")], passed_over)
    assert [name for _, name in found] == ["a", "b"]
    assert not +passed_over


def test_arrays_beside_pictures_are_passed_over_and_counted(tmp_path: Path) -> None:
    write_arrays(tmp_path / "in")
    Image.new("RGB", (4, 4)).save(tmp_path / "in" / "photo.png")
    passed_over: Counter[str] = Counter()
    found = find_images([str(tmp_path / "in")], passed_over)
    assert [name for _, name in found] == ["photo"]
    assert passed_over == {".npy": 2}


def test_a_pattern_names_arrays(tmp_path: Path) -> None:
    write_arrays(tmp_path / "in")
    passed_over: Counter[str] = Counter()
    found = find_images([str(tmp_path / "in" / "*.npy")], passed_over)
    assert [name for _, name in found] == ["a", "b"]
    assert not +passed_over
