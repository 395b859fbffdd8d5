"""Random draws of the model during training, as functions of the seed and the step alone."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_STREAM = 0x5D  # keeps these draws apart from those of samples and augmentation
_QUERY_STREAM = 1  # and those of queries apart from stochastic depth


def draw_drop_path_scales(
    drop_rates: list[float], seed: int, positions: Int[Tensor, " batch"]
) -> Float[Tensor, "branches batch"] | None:
    """Draw stochastic depth: 0 where a residual branch is dropped, else 1 / (1 - rate).

    An image's draw depends on the seed and its position in the stream of samples, not on the
    batch it comes in, so that splitting a batch changes nothing.
    """
    if not any(drop_rates):
        return None
    rates = np.asarray(drop_rates)
    columns = [
        np.random.Generator(
            np.random.Philox(key=[seed, position], counter=[_STREAM, 0, 0, 0])
        ).random(len(rates))
        for position in positions.tolist()
    ]
    kept = np.stack(columns, axis=1) >= rates[:, None]
    return torch.from_numpy((kept / (1 - rates[:, None])).astype(np.float32))


def draw_uniform(
    seed: int, positions: Int[Tensor, " batch"], count: int
) -> Float[Tensor, "batch count"]:
    """Draw numbers from 0 to 1 for each image, by its position as `draw_drop_path_scales` does."""
    rows = [
        np.random.Generator(
            np.random.Philox(key=[seed, position], counter=[_STREAM, _QUERY_STREAM, 0, 0])
        ).random(count, dtype=np.float32)
        for position in positions.tolist()
    ]
    return torch.from_numpy(np.stack(rows))


def image_generator(seed: int, position: int, device: torch.device) -> torch.Generator:
    """Return a generator of random numbers for one image, on the device that draws them."""
    words = np.random.SeedSequence([seed, _STREAM, position, _QUERY_STREAM]).generate_state(2)
    return torch.Generator(device).manual_seed(int(words[0]) << 32 | int(words[1]))


def seed_dropout(seed: int, first_position: int) -> None:
    """Make dropout (the paper's decoder has it) a function of the seed and the place in the run."""
    words = np.random.SeedSequence([seed, _STREAM, first_position]).generate_state(2)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))
