"""Memory and time for labelling a tiled GeoTIFF of 40000 x 40000 pixels by windows.

    python benchmarks/large_raster.py [--side 40000]

A tiny random model, so that reading, labels and writing weigh more than they ever do with a real
one. Most tiles of the raster are absent from the file, which then reads as black; every window is
computed all the same, and they are counted. Needs rasterio, of the extra `geo`.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from segmenter.classes import Classes
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.memory import peak_memory
from segmenter.model import EvaluationProtocol, ModelSpec, Segmenter
from segmenter.model.decoders import LinearDecoderSpec
from segmenter.model.spec import EncoderSpec, Normalization
from segmenter.predicting.rasters import label_raster

WINDOW, NUM_CLASSES, SEED = 512, 11, 0
TRANSFORM = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
PLACE = {"crs": "EPSG:32633", "transform": TRANSFORM}


def main() -> None:
    """Make a raster, label it, check the result, print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)
    predictor = Predictor(tiny_model(), protocol=EvaluationProtocol(window=WINDOW, stride=WINDOW))
    predictor(np.zeros((WINDOW, WINDOW, 3), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.tif"
        write_raster(path, given.side)
        before, start, used = peak_memory(), time.perf_counter(), time.process_time()
        computed = label_counting(predictor, path, Path(folder) / "out")
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
        with rasterio.open(Path(folder) / "out/large_label.tif") as labels:
            assert labels.shape == (given.side, given.side)
            assert (labels.crs, labels.transform) == (PLACE["crs"], TRANSFORM)
        assert computed == (-(-given.side // WINDOW)) ** 2
    print(
        f"{given.side} x {given.side} pixels, {computed} windows: "
        f"{seconds:.0f} s, {cpu:.0f} CPU s on {given.threads} threads, "
        f"{(peak_memory() - before) / 1e6:.0f} MB above the model"
    )


def tiny_model() -> Segmenter:
    """One block of width 64, random, whose patches differ in class."""
    encoder = EncoderSpec(
        architecture="tiny", patch_size=32, embed_dim=64, depth=1, table_grid=(16, 16)
    )
    classes = [
        {"name": f"class-{i}", "color": [i, i, i], "values": [i]} for i in range(NUM_CLASSES)
    ]
    spec = ModelSpec(
        encoder=encoder,
        decoder=LinearDecoderSpec(),
        classes=Classes.model_validate({"classes": classes, "ignore": [255]}),
        normalization=Normalization(mean=(127.5,) * 3, std=(127.5,) * 3),
    )
    model = Segmenter(spec).eval()
    with torch.no_grad():
        model.decoder.project.weight.mul_(20)
    return model


def write_raster(path: Path, side: int) -> None:
    """A tiled raster with a georeference and squares of colour along its diagonal."""
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(1, 256, (3, WINDOW // 16, WINDOW // 16), np.uint8)
    tile = coarse.repeat(16, axis=1).repeat(16, axis=2)
    options = {"tiled": True, "blockxsize": WINDOW, "blockysize": WINDOW, "compress": "deflate"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=side,
        width=side,
        count=3,
        dtype="uint8",
        bigtiff="yes",
        sparse_ok=True,
        **PLACE,
        **options,
    ) as file:
        for corner in range(0, side - WINDOW + 1, WINDOW):
            file.write(tile, window=Window(corner, corner, WINDOW, WINDOW))


def label_counting(predictor: Predictor, path: Path, out: Path) -> int:
    """Label a raster; returns how many windows went through the model."""
    computed = 0
    patch_logits = predictor.runtime.patch_logits

    def counting(pixels: torch.Tensor) -> torch.Tensor:
        nonlocal computed
        computed += len(pixels)
        return patch_logits(pixels)

    with mock.patch.object(predictor.runtime, "patch_logits", counting):
        result = label_raster(predictor, path, OutputFolder(out), "large")
    if result.problem is not None:
        sys.exit(str(result.problem))
    return computed


if __name__ == "__main__":
    main()
