"""Measure EoMT against transformers, and against a linear decoder on the same encoder.

    python benchmarks/eomt_speed.py

Both systems have the same random weights, and turn one image of uint8 into its labels. Systems take
turns, and medians count. Then the step from masks to labels is measured alone, as it was published
(all scores at all pixels) and as inference does it, each in a process of its own, with the memory
that it takes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
from segmenter.inference.resizing import resized_size
from segmenter.inference.row_bands import image_bands
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.model.decoders import LinearDecoderSpec
from segmenter.model.mask_scores import MaskScores

_RESULTS = Path(__file__).parents[1] / "results" / "eomt-speed.json"
_NUM_CLASSES, _NUM_QUERIES, _PATCH = 150, 100, 16
_LABELLED = ((512, 512), (1500, 2000))
"""Sizes of images whose masks are turned into labels; the model sees a short side of 512."""
_PROTOCOL = EvaluationProtocol(short_side=512, window_average="scores")


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
        compiled = torch.compile(theirs)
        systems: dict[str, Callable[[ndarray], ndarray]] = {
            "transformers, eager": lambda pixels: their_labels(theirs, ours, pixels),
            "transformers, compiled": lambda pixels: their_labels(compiled, ours, pixels),
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
        "from_masks_to_labels": {
            f"{height} x {width}": {
                name: measure_alone(name, (height, width)) for name in ("in bands", "all scores")
            }
            for height, width in _LABELLED
        },
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


def measure_alone(name: str, size: tuple[int, int]) -> dict[str, float]:
    """Measure a step from masks to labels in a new process: seconds, and MiB beside the masks."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(measure_labels, name, size, torch.get_num_threads()).result()


@torch.inference_mode()
def measure_labels(name: str, size: tuple[int, int], threads: int) -> dict[str, float]:
    """Turn smooth random masks of an image of this size into labels."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    view = resized_size(size, _PROTOCOL)
    rows, columns = (-(-length // _PATCH) * 4 for length in view)
    masks = F.interpolate(4 * torch.randn(1, _NUM_QUERIES, 9, 12), (rows, columns), mode="bicubic")
    shares = (4 * torch.randn(1, _NUM_QUERIES, _NUM_CLASSES + 1)).softmax(-1)[..., :-1]
    found = MaskScores(masks, shares, view)
    step = in_bands if name == "in bands" else all_scores
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest memory so far
    step(found, size)
    memory = resident("VmHWM") - before
    start = time.perf_counter()
    step(found, size)
    return {"seconds": time.perf_counter() - start, "mib": memory}


def in_bands(found: MaskScores, size: tuple[int, int]) -> None:
    """Label one image as inference does."""
    image = np.zeros((*size, 3), np.uint8)
    for band in image_bands([image], _PROTOCOL, lambda _: found, lambda count, _: count):
        band_labels(band.parts[0], np.uint8, softmax=False)


def all_scores(found: MaskScores, size: tuple[int, int]) -> None:
    """Label one image by the scores of all classes at all pixels."""
    masks = F.interpolate(found.masks, found.size, mode="bilinear").sigmoid()
    scores = torch.einsum("bqc,bqhw->bchw", found.shares, masks)
    F.interpolate(scores, size, mode="bilinear").argmax(dim=1)


def resident(field: str) -> float:
    """Return the memory of this process from a field of its status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 2**10


if __name__ == "__main__":
    main()
