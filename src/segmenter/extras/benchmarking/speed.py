"""`segmenter benchmark`: how fast a model is here, where the time goes, what the limit is."""

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from segmenter.checkpoints.license import terms_note
from segmenter.data.decoding.decode import decode_image
from segmenter.drawing import encode_jpeg
from segmenter.errors import UserError
from segmenter.image_spec import ImageSpec
from segmenter.inference.predictor import Predictor
from segmenter.memory import peak_memory
from segmenter.model import EvaluationProtocol, ModelSpec, Segmenter
from segmenter.options import Compute
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime

_PRODUCT_SIDE = 2048
_WHOLE = EvaluationProtocol(name="benchmark")


def run_benchmark(
    model: str,
    size: tuple[int, int],
    *,
    image_file: Path | None = None,
    compute: Compute,
    rounds: int,
    as_json: bool,
) -> None:
    """Measure a model on one image of a size, and print what was found.

    Raises:
        UserError: If the model, runtime, precision, device or image cannot be used, the size is no
            image's, or tokens are to be merged of none.
    """
    if min(size) < 1 or rounds < 1:
        raise UserError(f"size and rounds are 1 or more, got {size} and {rounds}")
    if compute.merge_threshold is not None and image_file is None:
        raise UserError("how many tokens are merged depends on the image; name one with --image")
    image = colored_blocks(size) if image_file is None else read_image(image_file, size)
    start = time.perf_counter()
    predictor = Predictor(open_runtime(model, compute), protocol=_WHOLE)
    opening = time.perf_counter() - start
    if predictor.spec.image is not None:
        image = _with_bands(image, predictor.spec.image)
    license = predictor.spec.license
    if (note := terms_note(model, license)) and not as_json:
        print(note)
    found = measure(predictor, image, rounds) | {
        "model": model,
        "license": license or None,
        "opening_seconds": opening,
    }
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)


def colored_blocks(size: tuple[int, int]) -> UInt8[ndarray, "height width 3"]:
    """Return a picture of random colours, each on 16 x 16 pixels."""
    height, width = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]


def _with_bands(
    image: UInt8[ndarray, "height width 3"], wanted: ImageSpec
) -> Shaped[ndarray, "height width channels"]:
    """Repeat the colours of an image over the channels that a model takes, within their ranges."""
    levels = image[:, :, np.arange(wanted.channels) % 3]
    return wanted.unstretch(levels).astype(wanted.dtype)


def _alone(wanted: ImageSpec) -> ImageSpec:
    """Return the spec of files that hold the channels alone."""
    bands = tuple(range(1, wanted.channels + 1))
    return wanted.model_copy(update={"file_bands": wanted.channels, "bands": bands})


def _npy(values: ndarray) -> bytes:
    """Encode an image of any bands as a `.npy` file."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def read_image(path: Path, size: tuple[int, int]) -> UInt8[ndarray, "height width 3"]:
    """Return an image, brought to a size."""
    return cv2.resize(decode_image(path), size[::-1], interpolation=cv2.INTER_AREA)


def measure(
    predictor: Predictor, image: Shaped[ndarray, "height width channels"], rounds: int
) -> dict[str, Any]:
    """Time the steps from an encoded image to its labels, round by round; medians count."""
    computing = predictor.runtime
    wanted = predictor.spec.image and _alone(predictor.spec.image)
    encoded = encode_jpeg(image) if wanted is None else _npy(image)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    pixels = pixels if wanted is None else pixels.float()
    pixels = pixels.to(computing.device)
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_image(encoded, image=wanted),
        "model": lambda: computing.scores(pixels),
        "image_to_labels": lambda: predictor(image),
    }
    for step in steps.values():
        step()  # compiles for the shape
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    products = []
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(_seconds(step, computing.device))
        products.append(_product_rate(computing))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    labels = max(medians["image_to_labels"] - medians["model"], 0.0)
    total = medians["decode"] + medians["image_to_labels"]
    latencies = np.array(seconds["image_to_labels"])
    size = (image.shape[0], image.shape[1])
    flops = count_flops(predictor.spec, size)
    if computing.merge_threshold is not None:
        flops = count_merged_flops(computing, pixels)
    product_rate = float(np.median(products))
    return {
        "device": computing.describe_device().removeprefix("device: "),
        "runtime": computing.describe(),
        "threads": torch.get_num_threads(),
        "size": list(size),
        "merge_tokens": computing.merge_threshold,
        "rounds": rounds,
        "parameters": count_parameters(predictor.spec),
        "flops": flops,
        "images_per_second": 1 / medians["image_to_labels"],
        "latency_seconds": {
            f"p{percent}": float(np.percentile(latencies, percent)) for percent in (5, 50, 95)
        },
        "shares": {
            "decode": medians["decode"] / total,
            "model": medians["model"] / total,
            "labels": labels / total,
        },
        "peak_memory_bytes": _peak_memory(computing.device),
        "model_flops_per_second": flops / medians["model"],
        "matrix_product_flops_per_second": product_rate,
        "share_of_limit": flops / medians["model"] / product_rate,
    }


def count_parameters(spec: ModelSpec) -> int:
    """Return the number of learned parameters."""
    return sum(parameter.numel() for parameter in _outline(spec).parameters())


def count_flops(spec: ModelSpec, size: tuple[int, int]) -> int:
    """Operations of the matrix products for one picture; a multiplication and addition are two."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        _outline(spec).patch_logits(torch.empty(1, spec.encoder.in_channels, *size))
    return counter.get_total_flops()


def count_merged_flops(runtime: Runtime, pixels: Tensor) -> int:
    """Count the operations that are left if tokens are merged, for `pixels` of 0 to 255."""
    # Of fused attention, what is counted depends on the device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        runtime.patch_logits(pixels)
    return counter.get_total_flops()


def _outline(spec: ModelSpec) -> Segmenter:
    """Return the model without numbers."""
    with torch.device("meta"):
        return Segmenter(spec).eval().requires_grad_(False)  # else the counter hooks gradients


def _product_rate(runtime: Runtime) -> float:
    """Operations a second of one large matrix product, in the runtime's precision, by torch."""
    dtype = torch.bfloat16 if runtime.precision == "bfloat16" else torch.float32
    left, right = torch.ones(2, _PRODUCT_SIDE, _PRODUCT_SIDE, dtype=dtype, device=runtime.device)
    product = left @ right
    seconds = _seconds(lambda: torch.mm(left, right, out=product), runtime.device)
    return 2 * _PRODUCT_SIDE**3 / seconds


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a step, to its end."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _peak_memory(device: torch.device) -> int | None:
    """Return the peak memory of the process, or of torch on a GPU; None if it is not measured."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()


def _print(found: dict[str, Any]) -> None:
    height, width = found["size"]
    latency, shares = found["latency_seconds"], found["shares"]
    lines = [
        f"device       {found['device']}",
        f"model        {found['model']}: {found['parameters'] / 1e6:.1f} million parameters, "
        f"{found['flops'] / 1e9:.1f} GFLOP for {height} x {width}",
        f"runtime      {found['runtime']}, {found['threads']} threads",
        f"opened in    {found['opening_seconds']:.2f} s",
        f"image to labels  {found['images_per_second']:.2f} a second; median "
        f"{latency['p50']:.3f} s, 5 to 95 per cent of {found['rounds']} rounds: "
        f"{latency['p5']:.3f} to {latency['p95']:.3f} s",
        "time goes to "
        + ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items()),
        *_memory_line(found["peak_memory_bytes"]),
        f"limit        a matrix product runs at "
        f"{found['matrix_product_flops_per_second'] / 1e9:.0f} GFLOP/s, the model at "
        f"{found['model_flops_per_second'] / 1e9:.0f}: {100 * found['share_of_limit']:.0f} %",
    ]
    print("\n".join(lines))


def _memory_line(peak: int | None) -> list[str]:
    return [] if peak is None else [f"memory       {peak / 2**20:.0f} MiB at most"]
