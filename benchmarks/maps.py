r"""A map of real size, from rasters and labels to polygons: memory, time, seams and areas.

    PYTHONPATH=src nice -n 19 python benchmarks/maps.py --side 20000 --folder /data/maps

Makes four maps of 4 bands of uint16, with a wedge without data, by a fixed rule. Three have labels:
two mask rasters and one GeoPackage. `prepare maps`, `train` and `predict` run as commands, each
step only if its result is not in the folder yet. Writes results/maps.json, of which
docs/how-to/maps.md has a table. `--strips` predicts 40000 pixels wide strips of several heights
with the model instead: if the peak memory is the same, it does not depend on the height.

Needs rasterio, pyogrio and shapely, of the extra `geo`.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyogrio
import rasterio
import shapely
from numpy import ndarray
from rasterio.features import shapes
from rasterio.windows import Window
from results_file import load, save

import segmenter
from segmenter.data.maps.map_bands import MapBands

RESULTS = Path("results/maps.json")
CLASSES = ("field", "wood", "water", "built")
SPECTRA = np.array([[620, 900, 700, 2800], [400, 520, 450, 3400], [400, 520, 450, 300], [1500] * 4])
"""Of each class, in 4 bands; wood and water differ only in the last."""
CELL, NOISE, NODATA, STRIP = 240, 150, 0, 512
PIXEL = 0.5
"""Metres."""
WIDE = 40_000
MODEL = Path("run/best.safetensors")
STRIP_HEIGHTS = (1024, 2048, 4096)
TRAIN = """
model.weights=dinov2-small model.encoder_depth=3 model.patch_size=28 model.decoder=linear
augment.preset=aerial schedule.steps=200 schedule.warmup_steps=20 optimizer.lr=0.0005
optimizer.frozen_blocks=0 optimizer.layer_decay=1.0
augment.crop_size=252 evaluate_every=200 save_every=200 workers=1
"""


class World:
    """Classes and values of the pixels of a map, by its number."""

    def __init__(self, number: int, height: int, width: int) -> None:
        rng = np.random.default_rng(number)
        self.height, self.width = height, width
        size = (len(CLASSES), height // CELL + 2, width // CELL + 2)
        coarse = rng.random(size, np.float32)
        columns = np.arange(width, dtype=np.float32) / CELL
        left = columns.astype(int)
        share = columns - left
        self.rows = coarse[:, :, left] * (1 - share) + coarse[:, :, left + 1] * share
        noise = rng.normal(0, NOISE, (1024, 1024, 4)).astype(np.float32)
        self.noise = cv2.GaussianBlur(noise, (0, 0), 1.2) * 2

    def labels(self, top: int, bottom: int) -> ndarray:
        """Return the class of each pixel of some rows."""
        rows = np.arange(top, bottom, dtype=np.float32) / CELL
        above = rows.astype(int)
        share = (rows - above)[:, None]
        heights = (
            self.rows[index][above] * (1 - share) + self.rows[index][above + 1] * share
            for index in range(len(CLASSES))
        )
        best, labels = next(heights), np.zeros((bottom - top, self.width), np.uint8)
        for index, height in enumerate(heights, start=1):
            labels[height > best] = index
            best = np.maximum(best, height)
        return labels

    def values(self, top: int, bottom: int) -> ndarray:
        """Return the values of some rows: (bands, rows, width)."""
        labels = self.labels(top, bottom)
        spans = range(0, self.width, 1024)
        noise = [
            self.noise[np.arange(top, bottom) % 1024, : min(1024, self.width - left)]
            for left in spans
        ]
        values = SPECTRA.astype(np.float32)[labels] + np.concatenate(noise, axis=1)
        values = np.clip(values, 1, 65535).astype(np.uint16)
        reach = self.width // 8
        edge = (reach * (1 - np.arange(top, bottom) / self.height))[:, None]
        values[np.arange(self.width)[None] < edge] = NODATA
        return np.moveaxis(values, 2, 0)


def place(number: int, side: int) -> Any:
    """Return the transform of a map; maps lie side by side."""
    return rasterio.Affine(PIXEL, 0, 500_000 + number * side * PIXEL, 0, -PIXEL, 5_400_000)


def write_map(path: Path, number: int, height: int, width: int) -> None:
    """Write the values of a map."""
    world = World(number, height, width)
    _write(path, world.values, (4, height, width), place(number, width), "uint16", nodata=NODATA)


def write_mask(path: Path, number: int, side: int) -> None:
    """Write the classes of a map as a raster."""
    world = World(number, side, side)
    _write(
        path, lambda *rows: world.labels(*rows)[None], (1, side, side), place(number, side), "uint8"
    )
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{f"class_{index}": name for index, name in enumerate(CLASSES)})


def _write(
    path: Path, rows: Any, shape: tuple[int, ...], transform: Any, dtype: str, **more: Any
) -> None:
    count, height, width = shape
    aside = path.with_suffix(".part")
    with rasterio.open(
        aside,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=dtype,
        crs="EPSG:32633",
        transform=transform,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="zstd",
        zstd_level=1,
        bigtiff="yes",
        **more,
    ) as file:
        for top in range(0, height, STRIP):
            bottom = min(top + STRIP, height)
            file.write(rows(top, bottom), window=Window(0, top, width, bottom - top))
    aside.replace(path)


def write_polygons(path: Path, number: int, side: int) -> None:
    """Write the classes of a map as polygons, whose corners lie 8 pixels apart."""
    world, step = World(number, side, side), 8
    labels = np.concatenate(
        [
            world.labels(top, min(top + STRIP, side))[step // 2 :: step, step // 2 :: step]
            for top in range(0, side, STRIP)
        ]
    )
    transform = place(number, side) @ rasterio.Affine.scale(step)
    found = list(shapes(labels, transform=transform))
    polygons = np.array([shapely.geometry.shape(shape) for shape, _ in found])
    names = np.array([CLASSES[int(value)] for _, value in found], object)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(polygons),
        [names],
        ["class"],
        driver="GPKG",
        geometry_type="Polygon",
        crs="EPSG:32633",
    )


RUN = """
import json, os, sys
pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "segmenter", *sys.argv[1:]])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
"""Runs a command from a small process: a peak begins with the memory of whoever starts it."""


def run(*command: object) -> dict[str, float]:
    """Run a command of segmenter; return seconds, CPU seconds and its peak memory in MB."""
    start = time.perf_counter()
    given = [sys.executable, "-c", RUN, *map(str, command)]
    done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True)
    status, cpu_seconds, peak = json.loads(done.stdout.splitlines()[-1])
    if status:
        sys.exit(f"{command[0]} failed")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_mb": round(peak * 1024 / 1e6),
    }


def train_on_maps(folder: Path, side: int) -> dict[str, Any]:
    """Make maps with labels, a data set and a model, as far as they are not there."""
    found = load(RESULTS, {}).get(f"train {side}", {})
    make_maps(folder, side)
    cut = ("prepare", "maps", folder / "maps.txt", folder / "set", "--tile", 504)
    if not (folder / "set").exists():
        found["prepare"] = run(*cut, "--max-tiles", 240)
    if not (folder / MODEL).exists():
        flags = [word for each in TRAIN.split() for word in ("--" + each).split("=")]
        out = ("--out", folder / MODEL.parent)
        found["train"] = run("train", "--data", folder / "set", *out, *flags)
    return found


def predict_map(folder: Path, side: int) -> dict[str, Any]:
    """Predict a new map, if that is not done yet; return what was measured."""
    found = load(RESULTS, {}).get(f"predict {side}", {})
    path, out = folder / f"new-{side}.tif", folder / f"out-{side}"
    if not path.exists():
        write_map(path, 3, side, side)
    polygons, labels = (out / f"{path.stem}{ending}" for ending in (".gpkg", "_label.tif"))
    if not polygons.exists():
        found |= predict(folder, path, out)
    return found | {
        "agreement": agreement(labels, side),
        "seams": seams(folder / MODEL, path, labels),
        "areas": areas(polygons, labels),
    }


def predict(folder: Path, path: Path, out: Path) -> dict[str, float]:
    """Predict labels and polygons of a map."""
    given = ("--model", folder / MODEL, "--out", out)
    return run("predict", path, *given, "--save", "label,gpkg", "--overwrite")


def make_maps(folder: Path, side: int) -> None:
    """Make what is not there of three maps and their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {"a": "a_mask.tif", "b": "b_mask.tif", "c": "c.gpkg"}
    for number, (name, file) in enumerate(labels.items()):
        if not (folder / f"{name}.tif").exists():
            write_map(folder / f"{name}.tif", number, side, side)
        if not (folder / file).exists():
            writer = write_polygons if file.endswith("gpkg") else write_mask
            writer(folder / file, number, side)
    lines = [f"{name}.tif {file}\n" for name, file in labels.items()]
    (folder / "maps.txt").write_text("".join(lines))


def agreement(path: Path, side: int) -> float:
    """Return the share of pixels with data whose label is that of the rule."""
    world, same, total = World(3, side, side), 0, 0
    with rasterio.open(path) as file:
        names = [file.tags()[f"class_{index}"] for index in range(len(CLASSES))]
        index_of = np.array([names.index(name) for name in CLASSES])
        for top in range(0, side, STRIP):
            bottom = min(top + STRIP, side)
            labels = file.read(1, window=Window(0, top, side, bottom - top))
            same += int((labels == index_of[world.labels(top, bottom)]).sum())
            total += int((labels != file.nodata).sum())
    return same / total


def seams(model: Path, path: Path, label_path: Path) -> dict[str, Any]:
    """Compare crops of the label map with the same pixels, labelled whole in memory."""
    protocol = segmenter.Predictor(model).protocol.model_copy(update={"short_side": None})
    predictor = segmenter.Predictor(model, protocol=protocol)
    window, stride = protocol.window, protocol.stride
    side = 4 * stride + window
    pixels = differing = 0
    with rasterio.open(path) as file, rasterio.open(label_path) as labels:
        bands = MapBands(file, [1, 2, 3, 4])
        last = (min(file.shape) - side) // stride
        for top, left in ((0, 0), (last // 2, last // 3), (last, last // 2)):
            place = Window(left * stride, top * stride, side, side)
            crop = predictor(np.moveaxis(bands.read(place), 0, 2))
            crop[bands.is_missing(place)] = 255
            is_other = (crop != labels.read(1, window=place))[window:-window, window:-window]
            pixels += is_other.size
            differing += int(is_other.sum())
    return {"pixels": pixels, "differing": differing, "crop": side}


def areas(polygons: Path, label_path: Path) -> dict[str, Any]:
    """Compare the areas of polygons with those of pixels."""
    _, _, _, (ids, square_metres) = pyogrio.raw.read(
        polygons, columns=["class_id", "area_m2"], read_geometry=False
    )
    counts = np.zeros(256)
    with rasterio.open(label_path) as file:
        for _, window in file.block_windows(1):
            counts += np.bincount(file.read(1, window=window).ravel(), minlength=256)
    of_polygons = np.bincount(ids, square_metres, minlength=len(CLASSES))
    of_pixels = counts[: len(CLASSES)] * PIXEL**2
    return {
        "polygons": len(ids),
        "square_kilometres": float(of_pixels.sum()) / 1e6,
        "largest_relative_difference": float(np.max(np.abs(of_polygons / of_pixels - 1))),
    }


def predict_strips(folder: Path, heights: list[int]) -> dict[str, Any]:
    """Predict strips of several heights; return memory and time, and the time of a square."""
    found = {}
    for height in heights:
        path = folder / f"strip-{height}.tif"
        if not path.exists():
            write_map(path, 9, height, WIDE)
        found[f"{height} rows"] = predict(folder, path, folder / "strips")
        print(height, found[f"{height} rows"], flush=True)
    low, high = heights[0], heights[-1]
    seconds = [found[f"{each} rows"]["cpu_seconds"] for each in (low, high)]
    per_row = (seconds[1] - seconds[0]) / (high - low)
    return {"heights": found, "cpu_seconds_of_square": round(per_row * WIDE)}


def save_part(key: str, found: dict[str, Any]) -> None:
    """Write one part of the results, and keep the others."""
    save(RESULTS, load(RESULTS, {}) | {key: found}, precision="auto")


def main() -> None:
    """Measure, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--side", type=int, default=20_000, help="of the map to predict")
    parser.add_argument("--train-side", type=int, default=20_000, help="of the three maps")
    parser.add_argument("--strips", nargs="*", type=int, help=f"default: {STRIP_HEIGHTS}")
    given = parser.parse_args()
    save_part(f"train {given.train_side}", train_on_maps(given.folder, given.train_side))
    if given.strips is None:
        save_part(f"predict {given.side}", predict_map(given.folder, given.side))
    else:
        save_part("strips", predict_strips(given.folder, given.strips or list(STRIP_HEIGHTS)))


if __name__ == "__main__":
    main()
