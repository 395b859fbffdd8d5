"""Images and masks of a data set without faults."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASSES_YAML = """\
classes:
  - {name: ground, color: [0, 0, 0], values: [0]}
  - {name: tree, color: [0, 200, 0], values: [3]}
  - {name: sign, color: [200, 0, 0], values: [9]}
"""


SIZE = (96, 128)


def draw_image(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Coarse random colours, as different from another seed's as two scenes."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def draw_mask(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Three shapes, one for each class: values 0, 3 and 9."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, dtype=np.uint8)
    rows, columns = np.indices(size)
    mask[(rows - 30) ** 2 + (columns - 40 - rng.integers(9)) ** 2 < 400] = 3
    mask[(rows - 60) ** 2 + (columns - 90) ** 2 < 300 + rng.integers(90)] = 9
    return mask


def write_item(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for kind, pixels in (("images", image), ("masks", mask)):
        path = root / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
