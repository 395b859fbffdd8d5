"""All of a run that moves from step to step, and its form in a checkpoint."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.checkpoint import Checkpoint
from segmenter.training.ema import WeightAverage


@dataclass
class TrainingState:
    """Weights, optimizer and counters of a run."""

    model: Segmenter
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    step: int = 0
    """Updates done."""
    position: int = 0
    """Crops taken from the stream."""
    scored_step: int = 0
    """The step that was scored last."""
    best_miou: float = -1.0
    num_nonfinite: int = 0
    """Steps in a row whose loss was not finite, up to now."""
    is_saved: bool = False
    """Whether a checkpoint holds all this."""

    def owes_a_score(self, recipe: Recipe) -> bool:
        """Whether the model is to be scored before the next step."""
        is_due = self.step % recipe.evaluate_every == 0 or self.step == recipe.schedule.steps
        return is_due and self.scored_step != self.step

    def owes_a_save(self, recipe: Recipe) -> bool:
        """Whether a checkpoint is to be written before the next step."""
        is_due = self.step % recipe.save_every == 0 or self.step >= recipe.schedule.steps
        return is_due and not self.is_saved

    def checkpoint(self, identity: dict[str, Any]) -> Checkpoint:
        """All of it as tensors and JSON, beside what the run is."""
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.model, self.optimizer),
            "average": self.average.tensors,
        }
        counters = {
            "position": self.position,
            "scored_step": self.scored_step,
            "best_miou": self.best_miou,
            "num_nonfinite": self.num_nonfinite,
        }
        return Checkpoint(self.step, tensors, {"run": identity, "counters": counters})

    def restore(self, found: Checkpoint) -> None:
        """Put back what `checkpoint` took."""
        self.model.load_state_dict(found.tensors["model"])
        restore_optimizer(self.model, self.optimizer, found.tensors["optimizer"])
        self.average.restore(found.tensors["average"], self.model)
        for name, value in found.facts["counters"].items():
            setattr(self, name, value)
        self.step, self.is_saved = found.step, True


def optimizer_tensors(model: Segmenter, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state: parameter name, a dot, and the name of a number of it -> tensor."""
    return {
        f"{name}.{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def restore_optimizer(
    model: Segmenter, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` took; parameters that are frozen now are left out."""
    parameters = dict(model.named_parameters())
    trained = {each for group in optimizer.param_groups for each in group["params"]}
    for key, tensor in tensors.items():
        name, field = key.rsplit(".", 1)
        parameter = parameters[name]
        if parameter in trained:
            is_step = field == "step"  # AdamW keeps its own count, on the CPU
            optimizer.state[parameter][field] = tensor if is_step else tensor.to(parameter.device)
