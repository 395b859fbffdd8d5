"""Time from patch logits to the label map, against upsampling all classes and taking the argmax.

    python benchmarks/labels.py [--threads 2] [--rounds 9]

Three kinds of logits, since dropping classes depends on them: smooth (a few clear regions, as of a
trained model), noise (each patch for itself, the worst case), and a mean of softmaxes over the
mirrored image, where no class can be dropped. Medians of interleaved rounds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy import ndarray
from results_file import save
from torch import Tensor
from torch.nn import functional as F

from segmenter.inference.labels import band_labels
from segmenter.inference.row_bands import image_bands
from segmenter.model import EvaluationProtocol

SIDE, PATCH = 512, 16


def smooth_logits(num_classes: int) -> Tensor:
    """Regions of about five patches, each with a class that is sure but for its border."""
    coarse = torch.randn(1, num_classes, 6, 6) * 3
    size = (SIDE // PATCH, SIDE // PATCH)
    return F.interpolate(coarse, size, mode="bicubic") + torch.randn(1, num_classes, *size) * 0.1


def noise_logits(num_classes: int) -> Tensor:
    """Each patch for itself."""
    return torch.randn(1, num_classes, SIDE // PATCH, SIDE // PATCH)


def ours(logits: Tensor, protocol: EvaluationProtocol) -> ndarray:
    """The label map as the package makes it, from one window."""
    labels = np.empty((SIDE, SIDE), dtype=np.uint16)
    image = np.empty((SIDE, SIDE, 1), dtype=np.uint8)
    bands = image_bands([image], protocol, lambda _: logits, lambda count, _: count * PATCH)
    for band in bands:
        found = band_labels(band.parts[0], np.uint16, softmax=protocol.flip)
        labels[band.rows] = found[band.inside]
    return labels


def plain(logits: Tensor) -> ndarray:
    """All classes at full size, as published code does."""
    full = F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return full[0].argmax(dim=0).numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="a file such as results/labels.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    print(f"{SIDE} x {SIDE}, {given.threads} threads, median of {given.rounds} rounds, ms")
    print(f"{'classes':>8} {'smooth':>8} {'noise':>8} {'softmax':>8} {'plain':>8}")
    rows = []
    for num_classes in (11, 150, 1000):
        smooth, noise = smooth_logits(num_classes), noise_logits(num_classes)
        tasks: dict[str, Callable[[], ndarray]] = {
            "smooth": lambda smooth=smooth: ours(smooth, EvaluationProtocol()),
            "noise": lambda noise=noise: ours(noise, EvaluationProtocol()),
            "softmax": lambda noise=noise: ours(noise, EvaluationProtocol(flip=True)),
            "plain": lambda noise=noise: plain(noise),
        }
        assert (tasks["noise"]() != tasks["plain"]()).mean() < 1e-4
        seconds: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(given.rounds):
            for name, task in tasks.items():
                start = time.perf_counter()
                task()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: round(1000 * median(each), 1) for name, each in seconds.items()}
        rows.append({"classes": num_classes, **medians})
        print(f"{num_classes:>8} {' '.join(f'{each:8.1f}' for each in medians.values())}")
    if given.out:
        save(given.out, {"rows": rows}, precision="float32")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
