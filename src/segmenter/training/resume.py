"""Going on with a run that was stopped, after making sure that it is the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from segmenter.errors import UserError
from segmenter.recipe import Recipe
from segmenter.training.checkpoint import read_newest
from segmenter.training.state import TrainingState

_FIXED = ("classes", "recipe.optimizer.name")
"""What no flag allows to change: weights or their optimizer would not fit."""


def restore(
    folder: Path,
    state: TrainingState,
    identity: dict[str, Any],
    *,
    allow_config_change: bool,
    say: Callable[[str], None],
) -> list[str]:
    """Put the newest checkpoint back.

    Args:
        folder: Of the run.
        state: What the checkpoint is put into.
        identity: What the run is now.
        allow_config_change: Go on though it was something else before.
        say: Told of damaged checkpoints, of changes, and where the run goes on.

    Returns:
        What changed, as `name: before -> now`.

    Raises:
        UserError: If there is no checkpoint, or the run is another one.
    """
    found, warnings = read_newest(folder / "checkpoints")
    for warning in warnings:
        say(f"warning: {warning}")
    differences = _differences(_with_defaults(found.facts["run"]), identity)
    unfit = [line for line in differences if line.startswith(_FIXED)]
    unfit += _shape_differences(found.tensors["model"], state.model.state_dict())
    if unfit:
        raise UserError(
            f"{folder} holds another run, it cannot be resumed: {'; '.join(unfit)}; start a new "
            "run with another --out, from its weights with --from"
        )
    if differences and not allow_config_change:
        raise UserError(
            f"{folder} holds another run: {'; '.join(differences)}; take the change back, or allow "
            "it with --allow-config-change"
        )
    for line in differences:
        say(f"changed at step {found.step}: {line}")
    state.restore(found)
    return differences


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """What the run was; a field that its version of the package did not have is at its default."""
    try:
        recipe = Recipe.model_validate(before["recipe"]).model_dump(mode="json")
    except ValidationError:
        return before
    return before | {"recipe": recipe}


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Each field that differs, as `name: before -> now`."""
    found = []
    for key, value in now.items():
        old, name = before.get(key), f"{prefix}{key}"
        if name == "photos":
            found += _file_differences(before["photos"], now["photos"])
        elif isinstance(value, dict) and isinstance(old, dict):
            found += _differences(old, value, f"{name}.")
        elif old != value:
            found.append(f"{name}: {old} -> {value}")
    return found


def _file_differences(before: list[str], now: list[str]) -> list[str]:
    """What became of the list of photos, in one line."""
    if before == now:
        return []
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    parts = [
        f"{len(names)} {what} (such as {names[0]})"
        for what, names in (("gone", gone), ("new", new))
        if names
    ]
    return [f"photos: {', '.join(parts) or 'in another order'}"]


def _shape_differences(before: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    """The first weight that the checkpoint and the model do not have alike."""
    for name in sorted(before.keys() | now.keys()):
        old, new = (list(part[name].shape) if name in part else None for part in (before, now))
        if old != new:
            return [f"weight {name}: {old} -> {new}"]
    return []
