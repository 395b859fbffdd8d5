"""Small data sets, written on the spot."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.models import make_classes


def write_data_set(
    root: Path, *, num_images: int = 4, splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Images of 64 x 64 whose colour says the class, with borders between patches."""
    rng = np.random.default_rng(1)
    for split in splits:
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number in range(num_images):
            column, row = int(rng.integers(1, 4)) * 16, int(rng.integers(1, 4)) * 16
            labels = np.zeros((64, 64), dtype=np.uint8)
            labels[:, column:] = 1
            labels[row:] = 2
            image = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])[labels]
            image = np.clip(image + rng.integers(-30, 30, image.shape), 0, 255).astype(np.uint8)
            name = f"photo-{number}.png"
            Image.fromarray(image).save(root / "images" / split / name)
            Image.fromarray(labels).save(root / "masks" / split / name)
    (root / "classes.yaml").write_text(make_classes(3).to_yaml())
    return root


def write_pair(image: Path, mask: Path | None, seed: int = 0, size: tuple[int, int] = (40, 50)):
    """A noisy image, and a mask of classes 0 and 1."""
    rng = np.random.default_rng(seed)
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(image)
    if mask is not None:
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 2, size, dtype=np.uint8)).save(mask)
