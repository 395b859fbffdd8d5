"""A folder with an image and a mask for each name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.data_sets import write_pair

CLASSES_YAML = """\
classes:
  - {name: ground, color: [0, 0, 0], values: [0]}
  - {name: tree, color: [0, 200, 0], values: [1]}
  - {name: sign, color: [200, 0, 0], values: [2]}
"""


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set with an image and a mask for each name."""

    def make(*names: str, root: Path = tmp_path / "set") -> Path:
        for seed, name in enumerate(names):
            write_pair(root / "images" / f"{name}.png", root / "masks" / f"{name}.png", seed)
        (root / "classes.yaml").write_text(CLASSES_YAML)
        return root

    return make
