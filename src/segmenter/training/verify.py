"""Checks that a run can resume from a checkpoint, which its SHA-256 alone does not prove."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from segmenter.training.checkpoint import Checkpoint, DamagedError

_PARTS = {"model", "optimizer", "average"}
_COUNTERS = {"position", "scored_step", "scores_since_best", "num_nonfinite"}
"""Whole numbers from 0 up."""
CROPS_AT_ONCE = "crops_at_once"
"""A counter that a checkpoint has if memory was full once."""
_BEST = "best_miou"
_SCALER = GradScaler("cpu").state_dict().keys()
_MAX_COUNT = 2**62
_OPTIMIZER_FIELDS = ({"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"})


def check_state(found: Checkpoint) -> None:
    """Refuse a checkpoint that training would fail on, or whose numbers are not finite.

    Raises:
        DamagedError: If parts are missing, do not fit each other, or are not finite.
    """
    if missing := _PARTS - found.tensors.keys():
        raise DamagedError(f"{min(missing)}.safetensors is missing")
    _check_facts(found.facts)
    weights = found.tensors["model"]
    _check_finite("model", weights)
    if average := found.tensors["average"]:
        _check_finite("average", average)
        if _shapes(average) != _shapes(weights):
            raise DamagedError("average.safetensors does not hold the weights of model.safetensors")
    _check_optimizer(found.tensors["optimizer"], weights)


def _check_facts(facts: dict[str, Any]) -> None:
    run, counters = facts.get("run"), facts.get("counters")
    if not isinstance(run, dict) or not isinstance(run.get("recipe"), dict):
        raise DamagedError("state.json does not say which run it is of")
    images = run.get("photos")
    if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
        raise DamagedError("state.json does not name the images of the run")
    if not isinstance(counters, dict) or counters.keys() - {CROPS_AT_ONCE} != _COUNTERS | {_BEST}:
        raise DamagedError("state.json does not hold the counters of a run")
    for name in sorted(counters.keys() - {_BEST}):
        value = counters[name]
        if type(value) is not int or not 0 <= value < _MAX_COUNT:
            raise DamagedError(f"{name} is {value!r:.40}, not a whole number from 0 up")
    best = counters[_BEST]
    if type(best) not in (int, float) or not -1 <= best <= 1:
        raise DamagedError(f"{_BEST} is {best!r:.40}, not a number from -1 to 1")
    scaler = facts.get("scaler")
    if not isinstance(scaler, dict) or (scaler and scaler.keys() != _SCALER):
        raise DamagedError("state.json does not hold the scale of the loss")
    if not all(map(_is_positive, scaler.values())):
        raise DamagedError("state.json does not hold the scale of the loss")


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf  # pyright: ignore[reportOperatorIssue]


def _check_finite(part: str, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise DamagedError(f"weight {name} of {part}.safetensors is not finite")


def _check_optimizer(state: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    fields: dict[str, set[str]] = {}
    for key, tensor in state.items():
        name, _, field = key.rpartition(".")
        expected = torch.Size() if field == "step" else getattr(weights.get(name), "shape", None)
        if tensor.shape != expected:
            raise DamagedError(f"optimizer.safetensors holds {key!r:.80}, which fits no weight")
        if tensor.isnan().any():
            raise DamagedError(f"{key} of optimizer.safetensors is not a number")
        fields.setdefault(name, set()).add(field)
    for name, known in fields.items():
        if known not in _OPTIMIZER_FIELDS or known != next(iter(fields.values())):
            raise DamagedError(f"optimizer.safetensors does not hold all of {name}")


def _shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
