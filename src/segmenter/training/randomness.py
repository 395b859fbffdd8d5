"""Random draws of the model during training, as functions of the seed and the step alone."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_STREAM = 0x5D  # keeps these draws apart from those of samples and augmentation


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


def seed_dropout(seed: int, first_position: int) -> None:
    """Make dropout (the paper's decoder has it) a function of the seed and the place in the run."""
    words = np.random.SeedSequence([seed, _STREAM, first_position]).generate_state(2)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))
