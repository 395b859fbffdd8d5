"""Images of any number of bands, and data sets of them."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from segmenter.image_spec import ImageSpec, ImageType, choose_bands
from tests.helpers.models import make_classes


def make_values(
    height: int = 37, width: int = 53, bands: int = 4, dtype: str = "uint16"
) -> np.ndarray:
    """Smooth values with noise, over a part of their type's range."""
    rng = np.random.default_rng(bands)
    rows, columns, band = np.mgrid[:height, :width, :bands]
    share = (rows / height + columns / width + band / bands) / 3 + rng.random(rows.shape) / 10
    scale = {"uint8": 200, "uint16": 9000, "int16": 9000}.get(dtype, 0.5)
    return (share * scale - (3000 if dtype == "int16" else 0)).astype(dtype)


def spec_of(values: np.ndarray, bands: tuple[int, ...] | None = None) -> ImageSpec:
    dtype = values.dtype.name if values.dtype.name in {"uint8", "uint16"} else "float32"
    return choose_bands(bands, ImageType(values.shape[2], dtype))


def tiff_bytes(values: np.ndarray, **profile: object) -> bytes:
    """A TIFF file as GDAL writes it."""
    import rasterio

    height, width, count = values.shape
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype.name}
    with warnings.catch_warnings(), rasterio.io.MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(driver="GTiff", **shape, **profile) as file:
            file.write(np.moveaxis(values, 2, 0))
        return bytes(memory.getbuffer())


def jp2_bytes(values: np.ndarray, bits: int, suffix: str = ".jp2") -> bytes:
    """A lossless JPEG 2000 file as GDAL writes it: boxes for `.jp2`, a codestream for `.j2k`."""
    import rasterio.shutil

    options = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO", "NBITS": str(bits)}
    with warnings.catch_warnings(), rasterio.io.MemoryFile(tiff_bytes(values)) as source:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with source.open() as image, rasterio.io.MemoryFile(ext=suffix) as memory:
            rasterio.shutil.copy(image, memory.name, driver="JP2OpenJPEG", **options)
            return bytes(memory.getbuffer())


def gdal_reads(data: bytes) -> np.ndarray:
    """The values of a TIFF file as GDAL decodes them."""
    import rasterio

    with warnings.catch_warnings(), rasterio.io.MemoryFile(data) as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open() as file:
            return np.moveaxis(file.read(), 0, 2)


def npy_bytes(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def write_band_set(root: Path, *, bands: int = 4, dtype: str = "uint16", num_images: int = 3):
    """Images of 64 x 64 in `.npy` or TIFF files, whose class 2 shows in the last band alone."""
    rng = np.random.default_rng(1)
    scale = {"uint8": 1, "uint16": 20}.get(dtype, 1 / 500)
    for split in ("train", "val"):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number in range(num_images):
            labels = np.zeros((64, 64), dtype=np.uint8)
            labels[:, 16 * int(rng.integers(1, 4)) :] = 1
            labels[16 * int(rng.integers(1, 4)) :] = 2
            levels = 60 + 60 * np.repeat((labels == 1)[:, :, None], bands, axis=2)
            levels[:, :, -1] += 90 * (labels == 2)
            levels = levels + rng.integers(0, 20, levels.shape)
            name = f"tile-{number}"
            file = tiff_bytes((levels * scale).astype(dtype), compress="deflate")
            (root / "images" / split / f"{name}.tif").write_bytes(file)
            Image.fromarray(labels).save(root / "masks" / split / f"{name}.png")
    (root / "classes.yaml").write_text(make_classes(3).to_yaml())
    return root
