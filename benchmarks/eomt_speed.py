"""Measure EoMT against transformers, and against a linear decoder on the same encoder.

    python benchmarks/eomt_speed.py

Both systems have the same random weights, and turn one image of uint8 into its labels. Systems take
turns, and medians count. Then the step from masks to labels is measured alone, as it was published
(all scores at all pixels) and as inference does it, with the memory that each takes.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import transformers
from numpy import ndarray
from results_file import save
from torch.nn import functional as F

import segmenter
from segmenter.inference import Predictor
from segmenter.inference.labels import band_labels
from segmenter.inference.row_bands import image_bands
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.model.decoders import LinearDecoderSpec

_RESULTS = Path(__file__).parents[1] / "results" / "eomt-speed.json"
_NUM_CLASSES, _NUM_QUERIES, _PATCH = 150, 100, 16


def main() -> None:
    """Measure, and write `results/eomt-speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    theirs = make_model(arguments.width, arguments.depth, arguments.side)
    image = make_image(arguments.side)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = segmenter.load(folder)
        segmenter.save(ours, Path(folder) / "eomt.safetensors")
        linear = Segmenter(ours.spec.model_copy(update=_linear(ours))).eval()
        segmenter.save(linear, Path(folder) / "linear.safetensors")
        systems: dict[str, Callable[[ndarray], ndarray]] = {
            "transformers, eager": lambda pixels: their_labels(theirs, ours, pixels)
        }
        for runtime in ("torch", "openvino"):
            for name in ("eomt", "linear"):
                systems[f"{name}, {runtime}"] = Predictor(
                    Path(folder) / f"{name}.safetensors", runtime=runtime, precision="float32"
                )
        agreement = float(
            (systems["eomt, torch"](image) == their_labels(theirs, ours, image)).mean()
        )
        seconds = take_turns(systems, image, arguments.rounds)
    base = seconds["transformers, eager"]
    results = {
        "image": [arguments.side, arguments.side],
        "encoder": {"width": arguments.width, "depth": arguments.depth, "patch": _PATCH},
        "queries": _NUM_QUERIES,
        "classes": _NUM_CLASSES,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "labels_equal": agreement,
        "systems": {
            name: {"seconds": value, "times_as_fast": base / value}
            for name, value in seconds.items()
        },
        "eomt_to_linear": {
            runtime: seconds[f"eomt, {runtime}"] / seconds[f"linear, {runtime}"]
            for runtime in ("torch", "openvino")
        },
        "from_masks_to_labels": measure_labels(ours, image),
    }
    save(arguments.out, results, "float32")
    print(arguments.out.read_text())


def _linear(ours: Segmenter) -> dict[str, Any]:
    protocol = ours.spec.protocol.model_copy(update={"window_average": "logits"})
    return {"decoder": LinearDecoderSpec(), "protocol": protocol}


def make_model(width: int, depth: int, side: int) -> Any:
    """Return a random EoMT of transformers whose labels differ between pixels."""
    torch.manual_seed(0)
    config = transformers.EomtConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        image_size=side,
        patch_size=_PATCH,
        num_blocks=4,
        num_queries=_NUM_QUERIES,
        num_labels=_NUM_CLASSES,
    )
    model = transformers.EomtForUniversalSegmentation(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.7 * parameter[0].numel() ** -0.5)
            elif "mask_head" in name:
                parameter.zero_()
        model.query.weight.normal_()
        model.class_predictor.weight.mul_(4)
        model.attn_mask_probs.zero_()
    return model


def make_image(side: int) -> ndarray:
    """Return an image of smooth colours."""
    colours = np.random.default_rng(0).integers(0, 256, (side // 32, side // 32, 3), dtype=np.uint8)
    return cv2.resize(colours, (side, side), interpolation=cv2.INTER_CUBIC)


@torch.inference_mode()
def their_labels(theirs: Any, ours: Segmenter, image: ndarray) -> ndarray:
    """Label an image by transformers, with the scores of all classes at all pixels."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    found = theirs(pixel_values=ours.normalize(pixels))
    return plain_labels(found.masks_queries_logits, found.class_queries_logits, image.shape[:2])


def plain_labels(masks: torch.Tensor, classes: torch.Tensor, size: tuple[int, ...]) -> ndarray:
    """Sum scores at all pixels, as `post_process_semantic_segmentation` does."""
    masks = F.interpolate(masks, size, mode="bilinear").sigmoid()
    shares = classes.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", shares, masks).argmax(dim=1)[0].numpy()


def take_turns(
    systems: dict[str, Callable[[ndarray], ndarray]], image: ndarray, rounds: int
) -> dict[str, float]:
    """Return the median seconds of each system; in each round, all have one turn."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for label in systems.values():
        label(image)
    for _ in range(rounds):
        for name, label in systems.items():
            start = time.perf_counter()
            label(image)
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


@torch.inference_mode()
def measure_labels(ours: Segmenter, image: ndarray) -> dict[str, dict[str, float]]:
    """Measure the step from masks to labels alone: seconds, and MiB beside the masks."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    found = ours.mask_scores(ours.normalize(pixels))
    protocol = EvaluationProtocol(window_average="scores")

    def in_bands() -> None:
        for band in image_bands([image], protocol, lambda _: found, lambda count, _: count):
            band_labels(band.parts[0], np.uint8, softmax=False)

    def whole() -> None:
        masks = F.interpolate(found.masks, found.size, mode="bilinear").sigmoid()
        torch.einsum("bqc,bqhw->bchw", found.shares, masks).argmax(dim=1)

    measured = {}
    for name, step in (("in bands", in_bands), ("all scores", whole)):
        step()
        with peak() as most:
            start = time.perf_counter()
            step()
            seconds = time.perf_counter() - start
        measured[name] = {"seconds": seconds, "mib": most[0]}
    return measured


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def peak() -> Iterator[list[float]]:
    """Sample the resident memory; afterwards, the list holds its rise in MiB."""
    before, most, is_over = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.001):
            most[0] = max(most[0], (resident() - before) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        is_over.set()
        watcher.join()


if __name__ == "__main__":
    main()
