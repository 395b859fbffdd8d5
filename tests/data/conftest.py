from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES_YAML = """\
classes:
  - {name: ground, color: [0, 0, 0], values: [0]}
  - {name: tree, color: [0, 200, 0], values: [1]}
  - {name: sign, color: [200, 0, 0], values: [2]}
"""


def write_pair(image: Path, mask: Path | None, seed: int = 0, size: tuple[int, int] = (40, 50)):
    """A noisy image, and a mask of classes 0 and 1."""
    rng = np.random.default_rng(seed)
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(image)
    if mask is not None:
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 2, size, dtype=np.uint8)).save(mask)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set with an image and a mask for each name."""

    def make(*names: str, root: Path = tmp_path / "set") -> Path:
        for seed, name in enumerate(names):
            write_pair(root / "images" / f"{name}.png", root / "masks" / f"{name}.png", seed)
        (root / "classes.yaml").write_text(CLASSES_YAML)
        return root

    return make
