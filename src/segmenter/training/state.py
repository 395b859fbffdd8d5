"""The state of a run, which every step changes, and its form in a checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.checkpoint import Checkpoint
from segmenter.training.crop_limit import CropLimit
from segmenter.training.ema import WeightAverage
from segmenter.training.origin import Origin
from segmenter.training.parallel import place_like, to_full_tensors
from segmenter.training.verify import CROPS_AT_ONCE


@dataclass
class TrainingState:
    """The weights, the optimizer and the counters of a run."""

    model: Segmenter
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    scaler: GradScaler
    """Scaler of the loss; disabled except for float16."""
    step: int = 0
    """Updates done."""
    position: int = 0
    """Crops taken from the stream."""
    scored_step: int = 0
    """The step that was evaluated last."""
    best_miou: float = -1.0
    scores_since_best: int = 0
    num_nonfinite: int = 0
    """Steps in a row whose loss was not finite, up to now."""
    is_saved: bool = False
    """A checkpoint holds this state."""
    limit: CropLimit = field(default_factory=CropLimit)
    """The most crops at once; a resumed run starts with it, so that it rounds as it would have."""

    def is_early_stopped(self, recipe: Recipe) -> bool:
        """Return whether the last `stop_after` scores were no new best."""
        return recipe.stop_after is not None and self.scores_since_best >= recipe.stop_after

    def is_finished(self, recipe: Recipe) -> bool:
        """Return whether the last step was taken."""
        return self.step >= recipe.schedule.steps or self.is_early_stopped(recipe)

    def is_evaluation_due(self, recipe: Recipe) -> bool:
        """Return whether the model is to be evaluated before the next step."""
        is_due = self.step % recipe.evaluate_every == 0 or self.step == recipe.schedule.steps
        return is_due and self.scored_step != self.step  # which starts at 0, as `step` does

    def is_checkpoint_due(self, recipe: Recipe) -> bool:
        """Return whether a checkpoint is to be written before the next step."""
        is_due = self.step % recipe.save_every == 0 or self.is_finished(recipe)
        return is_due and not self.is_saved

    def advance(self, num_crops: int, *, is_finite: bool) -> None:
        """Count a step; `is_finite` says whether it moved the weights, which are then averaged."""
        self.step += 1
        self.position += num_crops
        self.is_saved = False
        self.num_nonfinite = 0 if is_finite else self.num_nonfinite + 1
        if is_finite:
            self.average.update(self.model, self.step)

    def file_sizes(self, recipe: Recipe) -> list[int]:
        """Return the bytes of each file of a checkpoint, and of the last model."""
        model = sum(tensor.nbytes for tensor in self.model.state_dict().values())
        optimizer = sum(each.nbytes for each in self.model.parameters() if each.requires_grad)
        if recipe.optimizer.name == "adamw":
            optimizer *= 2
        return [model, optimizer, model if recipe.ema_decay else 0, model]

    def checkpoint(self, identity: dict[str, Any], origin: Origin) -> Checkpoint:
        """Return the state as full tensors and JSON; every process must call this.

        Args:
            identity: What the run is; see `run_identity`.
            origin: Facts of its starting weights.
        """
        tensors = {
            "model": to_full_tensors(self.model.state_dict()),
            "optimizer": to_full_tensors(optimizer_tensors(self.model, self.optimizer)),
            "average": to_full_tensors(self.average.tensors),
        }
        counters = {
            "position": self.position,
            "scored_step": self.scored_step,
            "best_miou": self.best_miou,
            "scores_since_best": self.scores_since_best,
            "num_nonfinite": self.num_nonfinite,
        }
        if self.limit.most:
            counters[CROPS_AT_ONCE] = self.limit.most
        facts = {"run": identity, "counters": counters, "scaler": self.scaler.state_dict()}
        return Checkpoint(self.step, tensors, facts | origin.to_facts())

    def restore(self, found: Checkpoint) -> None:
        """Restore what `checkpoint` returned, on as many processes as there are now."""
        weights = self.model.state_dict()
        self.model.load_state_dict(
            {
                name: place_like(found.tensors["model"][name], tensor)
                for name, tensor in weights.items()
            }
        )
        restore_optimizer(self.model, self.optimizer, found.tensors["optimizer"])
        self.average.restore(found.tensors["average"], self.model)
        if self.scaler.is_enabled() and found.facts["scaler"]:
            self.scaler.load_state_dict(found.facts["scaler"])
        counters = dict(found.facts["counters"])
        self.limit.most = counters.pop(CROPS_AT_ONCE, 0)
        for name, value in counters.items():
            setattr(self, name, value)
        self.step, self.is_saved = found.step, True


def optimizer_tensors(model: Segmenter, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state by parameter name, a dot, and the name of a number of it.

    The order is the same on all processes, which gather sharded tensors one by one.
    """
    return {
        f"{name}.{key}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in sorted(optimizer.state.get(parameter, {}).items())
        if value is not None
    }


def restore_optimizer(
    model: Segmenter, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Restore what `optimizer_tensors` returned; parameters that are frozen now are left out."""
    parameters = dict(model.named_parameters())
    trained = {each for group in optimizer.param_groups for each in group["params"]}
    for key, tensor in tensors.items():
        name, field = key.rsplit(".", 1)
        parameter = parameters.get(name)
        if parameter is not None and parameter in trained:
            is_step = field == "step"  # AdamW keeps its own count, on the CPU
            optimizer.state[parameter][field] = tensor if is_step else place_like(tensor, parameter)
