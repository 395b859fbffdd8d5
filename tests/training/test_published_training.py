"""Loss, optimiser, schedule and model together follow PaddleSeg's own training, step by step."""

import numpy as np
import pytest
import torch

from segmenter.checkpoints import load
from segmenter.model import Segmenter
from segmenter.recipe import OptimizerRecipe, ScheduleRecipe
from segmenter.recipe.loss import LossRecipe
from segmenter.training.losses import Loss
from segmenter.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from segmenter.training.parallel import DistributedModel
from segmenter.training.step import train_step
from tests.helpers.paths import GOLDEN
from tests.helpers.runs import batch_of, make_recipe

FOLDER = GOLDEN / "paddleseg_train"
SCHEDULE = ScheduleRecipe(steps=160_000, power=0.9, final_lr=1e-5)


def without_stochastic_depth(model: Segmenter) -> Segmenter:
    """The same weights; the golden run had none."""
    parts = {
        name: getattr(model.spec, name).model_copy(update={"drop_path": 0.0})
        for name in ("encoder", "decoder")
    }
    plain = Segmenter(model.spec.model_copy(update=parts))
    plain.load_state_dict(model.state_dict())
    return plain


def test_six_steps_follow_paddlesegs_losses_rates_and_final_logits() -> None:
    golden = np.load(FOLDER / "golden.npz")
    model = without_stochastic_depth(load(FOLDER / "start.pdparams")).train()
    sgd = OptimizerRecipe(name="sgd", lr=1e-3, momentum=0.9)
    recipe = make_recipe(FOLDER, batch_size=2)
    optimizer = make_optimizer(model, sgd)
    in_training = DistributedModel(model)
    loss = Loss(LossRecipe(), ignore_index=255)
    for step, (expected_loss, expected_rate) in enumerate(
        zip(golden["loss"], golden["lr"], strict=True)
    ):
        rate = learning_rate(sgd.lr, SCHEDULE, step)
        assert rate == pytest.approx(expected_rate, abs=1e-9)
        set_learning_rate(optimizer, rate)
        images = torch.from_numpy(golden[f"image_{step}"]) * 127.5 + 127.5  # normalised in the file
        labels = torch.from_numpy(golden[f"mask_{step}"]).long()
        batch = batch_of(images, labels)
        result = train_step(in_training, optimizer, batch, recipe, loss)
        assert result.loss == pytest.approx(expected_loss, abs=1e-4)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(golden["probe"]))
    torch.testing.assert_close(logits, torch.from_numpy(golden["final_logits"]), atol=1e-3, rtol=0)
