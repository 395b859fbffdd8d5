"""What one update is given, and what it makes of it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from segmenter.model import Segmenter
from segmenter.recipe import OptimizerRecipe
from segmenter.training.optimizer import make_optimizer
from segmenter.training.parallel import DistributedModel
from segmenter.training.step import train_step
from tests.helpers.models import make_spec
from tests.helpers.runs import LOSS, batch, make_recipe


def test_images_reach_the_device_as_bytes_and_are_normalised_there(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Segmenter(make_spec()).train()
    moved, normalised = [], []
    to, normalize = Tensor.to, model.normalize

    def spy_on_moves(self: Tensor, *arguments, **options) -> Tensor:
        moved.append((self.ndim, self.dtype))
        return to(self, *arguments, **options)

    def spy_on_normalizing(images: Tensor) -> Tensor:
        normalised.append(images.dtype)
        assert (4, torch.uint8) in moved  # the batch was moved first
        return normalize(images)

    monkeypatch.setattr(Tensor, "to", spy_on_moves)
    monkeypatch.setattr(model, "normalize", spy_on_normalizing)
    optimizer = make_optimizer(model, OptimizerRecipe(name="sgd", lr=0.1))
    train_step(DistributedModel(model), optimizer, batch(model), make_recipe(data_set), LOSS)
    assert normalised == [torch.uint8]
