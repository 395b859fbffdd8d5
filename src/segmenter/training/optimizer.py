"""Parameters in groups, and the learning rate of each step."""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from segmenter.model.segmenter import Segmenter
from segmenter.recipe import OptimizerRecipe, ScheduleRecipe

_SMALLEST = 1e-3
"""Floor of a tensor's root mean square, so that tensors that start at zero still learn."""

_BLOCK = re.compile(r"^encoder\.blocks\.(\d+)\.")


def freeze(model: Segmenter, recipe: OptimizerRecipe) -> None:
    """Freeze the blocks of the encoder that the recipe freezes."""
    depth = model.spec.encoder.depth
    for name, parameter in model.named_parameters():
        if name.startswith("encoder.") and _is_frozen(
            name, layer_level(name, depth), recipe.frozen_blocks
        ):
            parameter.requires_grad_(False)


def magnitudes_of(model: Segmenter) -> dict[str, float]:
    """Return the root mean square of each parameter."""
    return {
        name: float(parameter.detach().square().mean()) ** 0.5
        for name, parameter in model.named_parameters()
    }


def make_optimizer(
    model: Segmenter, recipe: OptimizerRecipe, magnitudes: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Group the parameters that are not frozen by rate and decay.

    Each group holds `lr_factor`, its learning rate as a multiple of the recipe's `lr`, and whether
    its parameters belong to the encoder.

    Args:
        model: The model in training.
        recipe: What is frozen, and the rates.
        magnitudes: Root mean square of each parameter at the start of the run; None: as they are
            now. A parameter without one has the smallest rate: its run is another one, which
            `resume_run` refuses.
    """
    depth = model.spec.encoder.depth
    if magnitudes is None:
        magnitudes = magnitudes_of(model) if recipe.relative_lr else {}
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        level = layer_level(name, depth)
        is_decoder = name.startswith("decoder.")
        factor = recipe.decoder_lr_factor if is_decoder else recipe.layer_decay ** (depth - level)
        if recipe.relative_lr:
            factor *= max(magnitudes.get(name, 0.0), _SMALLEST)
        is_matrix = name.endswith(".weight") and parameter.ndim >= 2
        decay = recipe.weight_decay if is_matrix else 0.0
        groups.setdefault((factor, decay, not is_decoder), []).append(parameter)
    described = [
        {
            "params": parameters,
            "lr_factor": factor,
            "weight_decay": decay,
            "is_encoder": is_encoder,
        }
        for (factor, decay, is_encoder), parameters in groups.items()
    ]
    if recipe.name == "sgd":
        return torch.optim.SGD(
            described, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov
        )
    return torch.optim.AdamW(described, lr=recipe.lr, betas=recipe.betas)


def _is_frozen(name: str, level: int, frozen_blocks: int | Literal["all"]) -> bool:
    """Return whether a parameter of the encoder is frozen."""
    if frozen_blocks == "all":
        return True
    return 0 < frozen_blocks >= level and not name.startswith("encoder.norm.")


def layer_level(name: str, depth: int) -> int:
    """Return the level of a parameter: 0 before the first block, `depth` in the last and above."""
    block = _BLOCK.match(name)
    if block:
        return int(block[1]) + 1
    is_input = name.startswith("encoder.") and not name.startswith("encoder.norm.")
    return 0 if is_input else depth


def learning_rate(lr: float, schedule: ScheduleRecipe, step: int) -> float:
    """Return the rate at a step, from 0: linear warm-up, then polynomial decay to `final_lr`."""
    fallen = (1 - step / schedule.steps) ** schedule.power
    rate = (lr - schedule.final_lr) * fallen + schedule.final_lr
    if step < schedule.warmup_steps:
        rate *= (step + 1) / schedule.warmup_steps
    return rate


def encoder_share(schedule: ScheduleRecipe, step: int) -> float:
    """Return the share of its rate that the encoder has at a step, from 0: 1 after its warm-up."""
    if not schedule.encoder_warmup_steps:
        return 1.0
    done = (step - schedule.warmup_steps) / schedule.encoder_warmup_steps
    return min(max(done, 0.0), 1.0)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, rate: float, encoder_share: float = 1.0
) -> None:
    """Give every group its multiple of `rate`, and groups of the encoder this share of it."""
    for group in optimizer.param_groups:
        share = encoder_share if group["is_encoder"] else 1.0
        group["lr"] = rate * share * group["lr_factor"]
