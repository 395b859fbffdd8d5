"""Where the checks of `tests/gpu` compute, and how large they are there."""

import os

import torch

REHEARSAL = "SEGMENTER_GPU_REHEARSAL"
"""Environment variable: set to 1, the checks run on the CPU, with small sizes."""


def rehearses() -> bool:
    """Whether the CPU takes the place of the GPU."""
    return os.environ.get(REHEARSAL) == "1"


def gpu() -> torch.device | None:
    """The device of the checks; None where there is none."""
    if rehearses():
        return torch.device("cpu")
    return torch.device("cuda", 0) if torch.cuda.is_available() else None


def small(on_gpu: int, in_rehearsal: int) -> int:
    """A size: the first on a GPU, the second in a rehearsal."""
    return in_rehearsal if rehearses() else on_gpu


def blocks(count: int, side: int) -> torch.Tensor:
    """Pictures of random colours, each on 16 x 16 pixels."""
    torch.manual_seed(1)
    coarse = torch.randint(0, 256, (count, 3, -(-side // 16), -(-side // 16)), dtype=torch.uint8)
    return coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)[:, :, :side, :side]
