"""A moving average of the weights, which often scores better than the weights themselves."""

import torch
from torch import Tensor

from segmenter.model.segmenter import Segmenter
from segmenter.training.parallel import place_like, to_full_tensors


class WeightAverage:
    """Exponential moving average of a model's weights; decay 0 keeps no copy.

    The decay rises with the steps as (1 + step) / (10 + step), so that the random start is
    forgotten quickly.
    """

    def __init__(self, model: Segmenter, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = (
            {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            if decay
            else {}
        )

    def restore(self, tensors: dict[str, Tensor], model: Segmenter) -> None:
        """Restore the average of a checkpoint; where it has none, start from the weights."""
        found = tensors or model.state_dict()
        for name, average in self.tensors.items():
            average.copy_(place_like(found[name], average))

    @torch.no_grad()
    def update(self, model: Segmenter, step: int) -> None:
        """Move the average towards the weights after the update of `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = model.state_dict()
        for name, average in self.tensors.items():
            average.lerp_(weights[name], 1 - decay)

    def averaged(self, model: Segmenter) -> Segmenter:
        """Return the model with averaged weights, in eval mode, sharing memory with the average.

        Where weights are sharded over processes, every process must call this, and gets all.
        """
        with torch.device("meta"):
            copy = Segmenter(model.spec)
        weights = to_full_tensors(self.tensors or model.state_dict())
        copy.load_state_dict(weights, assign=True)
        return copy.to(model.mean.device).eval().requires_grad_(False)
