"""What bfloat16 and int8 gain in OpenVINO, and what they cost: one Markdown table.

    python benchmarks/precisions.py street data/camvid
    python benchmarks/precisions.py MODEL data/camvid --size 512 512 --photos 0

Times are those of the model alone, from pixels to patch logits, in turns. mIoU, and the share of
pixels with the label of float32, are over images of the test split; with --photos 0 only times are
measured, of a model of any classes.

int8 is the graph quantised by NNCF (`pip install nncf`; left out without it), with
`model_type=TRANSFORMER`, calibrated on images of the train split; the rest of it is computed in
bfloat16.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy import ndarray

from segmenter.checkpoints import load
from segmenter.data.folder import Item, LabelledFolder, open_folder, read_sample
from segmenter.evaluation.evaluate import score_all
from segmenter.evaluation.metrics import ConfusionMatrix
from segmenter.inference import Predictor
from segmenter.runtimes.exported import FACTS_KEY, ExportFacts
from segmenter.runtimes.graph import to_onnx


class Quality(NamedTuple):
    """What a precision does to the labels."""

    miou: float | None
    same_labels: float
    """Share of the pixels that have the label of float32."""


def main() -> None:
    """Measure every precision that can be had, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a bundled name or a model file")
    parser.add_argument("data", type=Path, help="a data set with images in train and test")
    parser.add_argument("--size", type=int, nargs=2, help="height and width of the timed image")
    parser.add_argument("--calibrate", type=int, default=32, help="images for int8")
    parser.add_argument("--photos", type=int, help="test images that are scored; all if not given")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    folder = open_folder(given.data)
    test = folder.items("test")
    calibration = images(folder, spread(folder.items("train"), given.calibrate), given.size)
    with tempfile.TemporaryDirectory() as temporary:
        models = {"float32": given.model, "bfloat16": given.model}
        if find_spec("nncf"):
            models["int8"] = quantized(given.model, calibration, Path(temporary) / "int8.xml")
        predictors = {
            name: Predictor(
                model,
                runtime="openvino",
                precision="float32" if name == "float32" else "bfloat16",
            )
            for name, model in models.items()
        }
        seconds = timed(predictors, calibration[0], given.rounds)
        num_scored = len(test) if given.photos is None else given.photos
        qualities = scored(predictors, folder, spread(test, num_scored)) if num_scored else {}
    print(f"{given.model}, {calibration[0].shape[:2]}, {torch.get_num_threads()} threads; ", end="")
    print(f"{given.rounds} rounds, {num_scored} test images scored\n")
    print("| precision | seconds | times as fast as bfloat16 | mIoU | labels of float32 |")
    print("|---|---|---|---|---|")
    for name, of_model in seconds.items():
        gain = median(a / b for a, b in zip(seconds["bfloat16"], of_model, strict=True))
        quality = "- | -"
        if name in qualities:
            miou, same = qualities[name]
            quality = f"{100 * (miou or 0):.2f} | {100 * same:.2f} %"
        print(f"| {name} | {median(of_model):.4f} | {gain:.2f} | {quality} |")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """That many, evenly over all."""
    return [items[number * len(items) // count] for number in range(min(count, len(items)))]


def images(
    folder: LabelledFolder, items: Sequence[Item], size: Sequence[int] | None
) -> list[ndarray]:
    """Images as arrays, of a size if one is given."""
    found = [read_sample(item, folder.classes).image for item in items]
    return found if size is None else [cv2.resize(image, (size[1], size[0])) for image in found]


def quantized(model: str, calibration: Sequence[ndarray], path: Path) -> str:
    """Write the model's graph in int8, as a file that `Predictor` takes."""
    import nncf
    import openvino

    loaded = load(model)
    onnx = path.with_suffix(".onnx")
    onnx.write_bytes(to_onnx(loaded).SerializeToString())
    # This folds what lies between a weight and its matrix product; else NNCF passes it over.
    graph = openvino.convert_model(onnx)
    small = nncf.quantize(
        graph,
        nncf.Dataset([pixels(image).numpy() for image in calibration]),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
    )
    small.set_rt_info(ExportFacts(spec=loaded.spec).model_dump_json(), [FACTS_KEY])
    openvino.save_model(small, path, compress_to_fp16=False)
    return str(path)


def pixels(image: ndarray) -> torch.Tensor:
    """An image as a batch of one."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float().contiguous()


def timed(
    predictors: dict[str, Predictor], image: ndarray, num_rounds: int
) -> dict[str, list[float]]:
    """Seconds from pixels to patch logits, in each round."""
    batch = pixels(image)
    for predictor in predictors.values():
        predictor.runtime.patch_logits(batch)
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(num_rounds):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            predictor.runtime.patch_logits(batch)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def scored(
    predictors: dict[str, Predictor], folder: LabelledFolder, items: Sequence[Item]
) -> dict[str, Quality]:
    """Score every precision on the same images."""
    classes = folder.classes
    matrices = {name: ConfusionMatrix(len(classes), classes.ignore_index) for name in predictors}
    same: dict[str, list[float]] = {name: [] for name in predictors}
    for number, item in enumerate(items, start=1):
        sample = read_sample(item, classes)
        labels = {name: predictor(sample.image) for name, predictor in predictors.items()}
        for name, found in labels.items():
            matrices[name].add(sample.labels, found)
            same[name].append(float((found == labels["float32"]).mean()))
        print(f"\r{number} of {len(items)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {
        name: Quality(
            score_all(matrix, classes, predictors[name].protocol).miou, float(np.mean(same[name]))
        )
        for name, matrix in matrices.items()
    }


if __name__ == "__main__":
    main()
