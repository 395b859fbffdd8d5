"""Small maps with labels, and the tiles that `prepare maps` cuts from them."""

from pathlib import Path

import numpy as np
import pytest

from segmenter.data.folder import open_folder, read_labels
from segmenter.data.sample import Sample

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

CRS, SIDE, TILE = "EPSG:32633", 320, 64
TRANSFORM = rasterio.Affine(2, 0, 500_000, 0, -2, 5_400_000)


def write(path: Path, values: np.ndarray, shift: int = 0, **profile: object) -> Path:
    count, height, width = values.shape
    given = {"crs": CRS, "transform": TRANSFORM @ rasterio.Affine.translation(shift, 0)} | profile
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **given) as file:
        file.write(values)
    return path


def make_bands(count: int = 4, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 200, (count, SIDE, SIDE)).astype(dtype)


def make_labels() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, 3, (20, 20), np.uint8).repeat(16, axis=0).repeat(16, axis=1)


def tiles(out: Path) -> dict[str, list]:
    """The samples of each split, with the window of each in the world."""
    folder = open_folder(out)
    found = {}
    for split, items in folder.splits.items():
        found[split] = []
        for item in items:
            with rasterio.open(item.image) as file:
                image = np.moveaxis(file.read(), 0, 2)
                sample = Sample(image, read_labels(item, folder.classes))
                found[split].append((sample, file.bounds, file.crs))
    return found
