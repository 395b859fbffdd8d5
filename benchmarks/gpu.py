"""Images a second and peak memory of ViT-S, B and L on one GPU: a table, and JSON.

    python benchmarks/gpu.py --out results/gpu.json
    python benchmarks/gpu.py --device cpu --tiny    # a rehearsal: the same code, small

Each row is a random model of 150 classes with patches of 16 pixels, on images of 512 x 512, in the
precision that `auto` takes there. It is timed from pixels on the host to label maps on the host
(`Predictor`), and from pixels to patch logits on the device (`model`). Memory is the most that
torch held for tensors, weights included. A row that fails keeps its error, and the others are
measured all the same; rows that would begin after `--seconds` are left out, and say so. What torch
compiles it keeps, so a second run gets further.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, ModelSpec, Segmenter
from segmenter.model.architectures import ARCHITECTURES
from segmenter.model.decoders import (
    DecoderSpec,
    JoinedClassTokensSpec,
    LinearDecoderSpec,
    MaskTransformerSpec,
)
from segmenter.runtimes.devices import device_line, free_memory, usable_device

_ENCODERS = {
    "S": "vit_small_patch16_384",
    "B": "vit_base_patch16_384",
    "L": "vit_large_patch16_384",
}
_DECODERS: dict[str, DecoderSpec] = {
    "linear": LinearDecoderSpec(),
    "mask": MaskTransformerSpec(),
    "joined-class-tokens": JoinedClassTokensSpec(),
}
_NUM_CLASSES = 150
_WHOLE = EvaluationProtocol(name="benchmark")


class Sizes(NamedTuple):
    """How large everything is."""

    side: int = 512
    """Of the images, in pixels."""
    depth: int | None = None
    """Blocks of the encoder, which is then ViT-Ti; None: all of the one that is named."""
    rounds: int = 9


def main() -> None:
    """Measure every row, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--seconds", type=float, default=210.0, help="no row begins later")
    parser.add_argument("--encoders", nargs="+", choices=_ENCODERS, default=[*_ENCODERS])
    parser.add_argument("--tiny", action="store_true", help="one narrow block, images of 64 x 64")
    given = parser.parse_args()
    device = usable_device(given.device)
    print(device_line(device, given.device), flush=True)
    sizes = Sizes(64, 1, 2) if given.tiny else Sizes()
    deadline = time.perf_counter() + given.seconds
    rows = []
    for row in measure_all(given.encoders, device, sizes, deadline):
        rows.append(row)
        print(in_one_line(row), flush=True)
        if given.out:  # after each row: what is measured is kept if the run is cut short
            found = {"machine": machine(device), "size": sizes.side, "rows": rows}
            given.out.write_text(json.dumps(found, indent=1) + "\n")


def measure_all(
    encoders: Sequence[str], device: torch.device, sizes: Sizes, deadline: float
) -> Iterator[dict[str, Any]]:
    """Yield a row for each model, runtime and batch: first all without compiling."""
    for runtime in ("torch", "torch-compile"):
        for encoder, decoder in product(encoders, _DECODERS):
            names = {"encoder": f"ViT-{encoder}", "decoder": decoder, "runtime": runtime}
            predictor = None
            for batch in (8, 1):
                row = {**names, "batch": batch}
                if time.perf_counter() > deadline:
                    yield row | {"error": "not measured: out of time"}
                    continue
                try:
                    if predictor is None:
                        predictor = open_predictor(encoder, decoder, runtime, device, sizes)
                    row |= measure(predictor, batch, sizes)
                except Exception as error:  # the other rows are worth having
                    row["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
                yield row
            del predictor
            torch.compiler.reset()
            free_memory(device)


def open_predictor(
    encoder: str, decoder: str, runtime: str, device: torch.device, sizes: Sizes
) -> Predictor:
    """Open a random model."""
    spec, normalization = ARCHITECTURES[_ENCODERS[encoder]]
    settings = _DECODERS[decoder]
    if sizes.depth is not None:
        narrow, _ = ARCHITECTURES["vit_tiny_patch16_224"]
        spec = narrow.model_copy(update={"depth": sizes.depth})
        if isinstance(settings, JoinedClassTokensSpec):
            settings = settings.model_copy(update={"blocks": 1})
    classes = Classes.model_validate(
        {
            "classes": [
                {"name": f"class-{i}", "color": [i, 255 - i, 0], "values": [i]}
                for i in range(_NUM_CLASSES)
            ],
            "ignore": [255],
        }
    )
    described = ModelSpec(
        encoder=spec, decoder=settings, classes=classes, normalization=normalization
    )
    with torch.device(device):
        torch.manual_seed(0)
        model = Segmenter(described).eval()
    return Predictor(model, device=device, runtime=runtime, protocol=_WHOLE)


def measure(predictor: Predictor, batch: int, sizes: Sizes) -> dict[str, Any]:
    """Time a batch from pixels to labels, and the model alone, round by round."""
    device, side = predictor.device, sizes.side
    images: list[ndarray] = [
        np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)
        for i in range(batch)
    ]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device)
    steps: dict[str, Callable[[], object]] = {
        "model": lambda: predictor.runtime.patch_logits(pixels),
        "labels": lambda: predictor(images),
    }
    start = time.perf_counter()
    for step in (*steps.values(), *steps.values()):
        step()  # compiles, and lets the allocator grow
    synchronize(device)
    warm_up = time.perf_counter() - start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(sizes.rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            synchronize(device)
            seconds[name].append(time.perf_counter() - begin)
    return {
        "precision": predictor.runtime.precision,
        "images_per_second": batch / median(seconds["labels"]),
        "model_images_per_second": batch / median(seconds["model"]),
        "peak_memory_mib": peak_mebibytes(device),
        "warm_up_seconds": warm_up,
    }


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mebibytes(device: torch.device) -> float | None:
    """Return the most memory of tensors; None where torch does not count it."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def in_one_line(row: dict[str, Any]) -> str:
    """Return a row as a line of a Markdown table."""
    cells = [row["encoder"], row["decoder"], row["runtime"], f"batch {row['batch']}"]
    if "error" in row:
        return f"| {' | '.join(cells)} | {row['error']} |"
    memory = row["peak_memory_mib"]
    cells += [
        row["precision"],
        f"{row['images_per_second']:.1f} images/s",
        f"model {row['model_images_per_second']:.1f}",
        "-" if memory is None else f"{memory:.0f} MiB",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
