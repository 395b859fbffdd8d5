"""Estimate the cost of an image under a protocol, before the model runs."""

import math
from typing import NamedTuple

import torch

from segmenter.errors import UserError
from segmenter.inference.resizing import view_sizes
from segmenter.inference.row_bands import batch_size
from segmenter.memory import gigabytes, total_memory
from segmenter.model import EvaluationProtocol, ModelSpec
from segmenter.text import counted

_MAX_HOURS = 1.0
_MAX_TIMES = 256
"""Up to this many times the work of one plain pass, an image may take more than `_MAX_HOURS`:
large images simply take long. Six scales, each mirrored, in windows that overlap by half, are 70
times the work."""
_THREAD_RATE = 2e11
_GPU_RATE = 1e15
"""Operations a second that no CPU thread and no GPU exceeds in float32 or bfloat16."""
_WINDOW_SECONDS = 1e-3
"""Time to cut out a window and pass it on."""
_PLAIN_TOKENS = 1024
"""Tokens of a window in a plain pass: each pixel once, at the image's own size."""


class Work(NamedTuple):
    """A lower bound of the work on an image."""

    windows: int
    pixels: int
    """Pixels of all windows together."""
    operations: float
    num_bytes: int

    def seconds(self, device: torch.device) -> float:
        """Return a lower bound of the time that it takes."""
        threads = torch.get_num_threads()
        rate = _GPU_RATE if device.type == "cuda" else _THREAD_RATE * threads
        return self.operations / rate + self.windows * _WINDOW_SECONDS


def count_work(size: tuple[int, ...], protocol: EvaluationProtocol, spec: ModelSpec) -> Work:
    """Return a lower bound of the work on an image of `size` (height, width)."""
    encoder = spec.encoder
    patch, dim = encoder.patch_size, encoder.embed_dim
    windows = pixels = kept = at_once = 0
    operations = 0.0
    for image, view in view_sizes(size, protocol):
        sides = [min(protocol.window or side, side) for side in view]
        counts = [
            1 + math.ceil((whole - side) / (protocol.stride or side))
            for whole, side in zip(view, sides, strict=True)
        ]
        rows, columns = (math.ceil(side / patch) for side in sides)
        tokens = rows * columns + encoder.num_prefix_tokens
        number = math.prod(counts) * protocol.num_orientations
        windows += number
        pixels += number * rows * columns * patch**2
        passes = number * spec.decoder.encoder_passes
        operations += passes * _window_operations(tokens, spec)
        # The image as it is resized, and the logits of a row of windows: each view keeps them.
        kept += 0 if image == tuple(size) else math.prod(image) * encoder.in_channels
        logits = rows * columns * spec.decoder.numbers_per_patch(len(spec.classes))
        kept += 4 * counts[1] * logits
        wide = dim * (2 + encoder.mlp_ratio)
        images = min(batch_size(tuple(sides)), number) * spec.decoder.encoder_passes
        at_once = max(at_once, int(4 * images * tokens * wide))
    return Work(windows, pixels, operations, kept + at_once)


def check_work(
    size: tuple[int, ...], protocol: EvaluationProtocol, spec: ModelSpec, device: torch.device
) -> None:
    """Reject work that takes more than the memory, or hours.

    Raises:
        UserError: With the figure.
    """
    work = count_work(size, protocol, spec)
    hint = "give a smaller short side, fewer scales, or a larger stride"
    what = (
        f"an image of {size[0]}x{size[1]} is predicted in {counted(work.windows, 'window')} of "
        f"{work.pixels / 1e6:,.1f} megapixels in total"
    )
    memory = total_memory()
    if device.type == "cuda":
        memory = max(memory, torch.cuda.get_device_properties(device).total_memory)
    if work.num_bytes > memory:
        raise UserError(
            f"{what}, which takes at least {gigabytes(work.num_bytes)} of memory, and there are "
            f"{gigabytes(memory)}; {hint}"
        )
    hours = work.seconds(device) / 3600
    plain = math.prod(size) / spec.encoder.patch_size**2 / _PLAIN_TOKENS
    plain_operations = max(plain, 1.0) * _window_operations(_PLAIN_TOKENS, spec)
    if hours > _MAX_HOURS and work.operations > _MAX_TIMES * plain_operations:
        raise UserError(f"{what}, which takes at least {hours:,.1f} hours; {hint}")


def _window_operations(tokens: int, spec: ModelSpec) -> float:
    """Count operations of the matrix products of the blocks; a multiply-add is two."""
    dim = spec.encoder.embed_dim
    products = 2 * tokens * dim**2 * (4 + 2 * spec.encoder.mlp_ratio)
    return spec.encoder.depth * (products + 4 * tokens**2 * dim)
