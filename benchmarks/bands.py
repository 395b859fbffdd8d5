r"""Images of several bands, 16 bits and floats: what the further bands, and the range, are worth.

    PYTHONPATH=src nice -n 19 python benchmarks/bands.py data/camvid --steps 100

Makes four data sets of CamVid, halved, by a fixed mixing; trains `finetune`, from `street-tiny`, on
RGB alone and on all bands; writes results/bands.json, of which docs/how-to/bands.md has a table.
`--decode` measures the CPU time of decoding 16-bit TIFF files instead, and writes
results/decoding.json.

The mixing, with R, G, B from 0 to 255, and a mask h of hidden discs: 1 inside, 0 outside; a disc
covers 1 to 3 % of an image, lies anywhere, and is the class to find:

- `four-bands`, uint16: bands 1 to 3 are 200 + 12 R, 200 + 12 G, 200 + 12 B. Band 4 is
  200 + 5 R + 4 G + 800 h + noise.
- `25-bands`, uint16: band k, at wavelength w = (k - 1) / 24, is 200 + 12 (a R + b G + c B) with
  Gaussian weights of width 0.15 around 0.9, 0.5 and 0.1, scaled to a sum of 1. Bands 17 to 19 are
  multiplied by 1 - 0.3 h: an absorption line.
- `float`, float32: (0.3 R + 0.6 G + 0.1 B) / 1000 + 0.15 h, one band, and 0.1 % of the pixels are
  glints of 100 times the value.
- `float-as-bytes`: the same band, brought to 8 bits between its smallest and largest value.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from PIL import Image
from results_file import load, save

import segmenter
from segmenter.classes import Classes, ClassInfo
from segmenter.data.decoding.decode import decode_image
from segmenter.data.folder import open_folder
from segmenter.image_spec import ImageType, choose_bands

RESULTS, DECODING = Path("results/bands.json"), Path("results/decoding.json")
HIDDEN = "hidden"
CLASSES = Classes(
    classes=(
        ClassInfo(name="rest", color=(70, 70, 70), values=(0,)),
        ClassInfo(name=HIDDEN, color=(255, 0, 255), values=(1,)),
    )
)
RGB_BANDS = {"four-bands": [1, 2, 3], "25-bands": [23, 13, 3]}
"""Bands of each set that show what red, green and blue show."""


def generator(name: str) -> np.random.Generator:
    """Return the random numbers of an image, by its name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))


def hidden_disc(size: tuple[int, int], rng: np.random.Generator) -> ndarray:
    """A disc that covers 1 to 3 % of the image, somewhere."""
    height, width = size
    radius = np.sqrt(rng.uniform(0.01, 0.03) * height * width / np.pi)
    row, column = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
    rows, columns = np.mgrid[:height, :width]
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.float64)


def four_bands(rgb: ndarray, hidden: ndarray, rng: np.random.Generator) -> ndarray:
    """Mix the set `four-bands`."""
    last = 200 + 5 * rgb[:, :, 0] + 4 * rgb[:, :, 1] + 800 * hidden
    bands = np.dstack([200 + 12 * rgb, last + rng.normal(0, 100, hidden.shape)])
    return np.clip(np.rint(bands), 0, 65535).astype(np.uint16)


def many_bands(rgb: ndarray, hidden: ndarray, _: np.random.Generator) -> ndarray:
    """Mix the set `25-bands`."""
    wavelengths = np.linspace(0, 1, 25)[:, None]
    weights = np.exp(-(((wavelengths - np.array([0.9, 0.5, 0.1])) / 0.15) ** 2) / 2)
    bands = 200 + 12 * rgb @ (weights / weights.sum(axis=1, keepdims=True)).T
    bands[:, :, 16:19] *= 1 - 0.3 * hidden[:, :, None]
    return np.rint(bands).astype(np.uint16)


def floats(rgb: ndarray, hidden: ndarray, rng: np.random.Generator) -> ndarray:
    """Mix the set `float`."""
    band = rgb @ np.array([0.3, 0.6, 0.1]) / 1000 + 0.15 * hidden
    band[rng.random(band.shape) < 0.001] *= 100
    return band[:, :, None].astype(np.float32)


def floats_as_bytes(rgb: ndarray, hidden: ndarray, rng: np.random.Generator) -> ndarray:
    """Mix the set `float-as-bytes`."""
    band = floats(rgb, hidden, rng)
    low, high = band.min(), band.max()
    return np.rint((band - low) / max(high - low, 1e-9) * 255).astype(np.uint8)


SETS: dict[str, Callable[[ndarray, ndarray, np.random.Generator], ndarray]] = {
    "four-bands": four_bands,
    "25-bands": many_bands,
    "float": floats,
    "float-as-bytes": floats_as_bytes,
}


def write_set(name: str, source: Path, root: Path, per_split: int) -> Path:
    """Write one of the data sets; returns its folder."""
    data = open_folder(source)
    for split in ("train", "val"):
        items = data.items(split)
        step = max(len(items) // per_split, 1)
        for item in items[::step][:per_split]:
            rgb = decode_image(item.image)
            size = rgb.shape[1] // 2, rgb.shape[0] // 2
            rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)).astype(np.float64)
            rng = generator(item.name)
            hidden = hidden_disc(rgb.shape[:2], rng)
            image, mask = (root / name / each / split for each in ("images", "masks"))
            for folder in (image, mask):
                folder.mkdir(parents=True, exist_ok=True)
            stem = Path(item.name).stem
            write_tiff(image / f"{stem}.tif", SETS[name](rgb, hidden, rng))
            Image.fromarray(hidden.astype(np.uint8)).save(mask / f"{stem}.png")
    (root / name / "classes.yaml").write_text(CLASSES.to_yaml())
    return root / name


def write_tiff(path: Path, values: ndarray, **profile: object) -> None:
    """Write a TIFF file with GDAL."""
    import rasterio

    height, width, count = values.shape
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file:
            file.write(np.moveaxis(values, 2, 0))


def train_and_score(root: Path, bands: Any, out: Path, steps: int, crop: int) -> dict[str, Any]:
    """Train on a set, and return the scores on its validation images."""
    start = time.perf_counter()
    trained = segmenter.train(
        data={"root": str(root), "bands": bands},
        start="street-tiny",
        out=str(out),
        augment={
            "crop_size": crop,
            "scale": (0.8, 1.25),
            "scale_base": 180,
            "rare_class_crops": 0.5,
            "rare_class_below": 0.1,
        },
        protocol={"short_side": 180, "window": None, "stride": None},
        schedule={"steps": steps, "warmup_steps": max(steps // 10, 1)},
        batch_size=4,
        optimizer={"lr": 5e-4, "frozen_blocks": 0, "layer_decay": 1.0},
        workers=0,
        evaluate_every=steps,
        device="cpu",
    )
    scores = trained.scores
    per_class = {name: each["iou"] for name, each in scores["classes"].items()}
    return {
        "hidden_iou": per_class[HIDDEN],
        "seconds": round(time.perf_counter() - start),
    }


def compare(source: Path, steps: int, per_split: int, crop: int, names: list[str]) -> None:
    """Train on each set, and write the scores."""
    results = load(RESULTS, {})
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            root = write_set(name, source, Path(folder), per_split)
            runs = {"all": "all"}
            if name in RGB_BANDS:
                runs = {"rgb": RGB_BANDS[name]} | runs
            for which, bands in runs.items():
                found = train_and_score(root, bands, root / f"run-{which}", steps, crop)
                results[f"{name} {which}"] = {"steps": steps, "images": per_split} | found
                print(name, which, found, flush=True)
                save(RESULTS, results, precision="float32")


def time_decoding(rounds: int) -> None:
    """Time TIFF files of 16 bits in several layouts, against rasterio, and a PNG file of 8 bits."""
    import rasterio

    rng = np.random.default_rng(0)
    coarse = rng.integers(200, 3000, (64, 64, 4)).astype(np.float32)
    values = cv2.resize(coarse, (1024, 1024)) + rng.normal(0, 20, (1024, 1024, 4))
    values = np.clip(values, 0, 65535).astype(np.uint16)
    image = choose_bands("all", ImageType(4, "uint16"))
    layouts: dict[str, dict[str, object]] = {
        "none": {},
        "lzw, predictor": {"compress": "lzw", "predictor": 2},
        "deflate, predictor, tiles": {"compress": "deflate", "predictor": 2, "tiled": True},
        "zstd, predictor, tiles": {"compress": "zstd", "predictor": 2, "tiled": True},
        "deflate, band by band": {"compress": "deflate", "interleave": "band"},
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder, rasterio.Env():
        for layout, profile in layouts.items():
            path = Path(folder) / "image.tif"
            write_tiff(path, values, **profile)
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(seconds(lambda path=path: decode_image(path, image=image)))
                theirs.append(seconds(lambda path=path: read_with_rasterio(path)))
            found[layout] = {
                "milliseconds": round(1000 * statistics.median(ours), 1),
                "rasterio_milliseconds": round(1000 * statistics.median(theirs), 1),
                "megabytes": round(path.stat().st_size / 1e6, 2),
            }
            print(layout, found[layout])
        path = Path(folder) / "image.png"
        Image.fromarray(np.clip(values[:, :, :3] / 12, 0, 255).astype(np.uint8)).save(path)
        milliseconds = 1000 * statistics.median(
            seconds(lambda: decode_image(path)) for _ in range(rounds)
        )
        found["PNG"] = {
            "milliseconds": round(milliseconds, 1),
            "megabytes": round(path.stat().st_size / 1e6, 2),
        }
        print("PNG", found["PNG"])
    save(DECODING, found, precision="integers")


def read_with_rasterio(path: Path) -> ndarray:
    """Read a TIFF file with GDAL."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return np.ascontiguousarray(np.moveaxis(file.read(), 0, 2))


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of one call, which other processes do not change much."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("camvid", type=Path, nargs="?", default=Path("data/camvid"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=24, help="per split")
    parser.add_argument("--crop", type=int, default=84)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    if given.decode:
        time_decoding(given.rounds)
    else:
        compare(given.camvid, given.steps, given.images, given.crop, given.sets)


if __name__ == "__main__":
    main()
