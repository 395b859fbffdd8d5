"""Resume a run that was stopped, after checking that it is the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from segmenter.errors import UserError
from segmenter.files.outputs import write_new
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import make_recipe, read_recipe
from segmenter.training.checkpoint import Checkpoint, DamagedError, read_newest
from segmenter.training.log.lines import Log
from segmenter.training.prepare import Run
from segmenter.training.run_folder import CHECKPOINTS
from segmenter.training.state import TrainingState
from segmenter.training.verify import check_state

_KIND = "recipe.model.decoder.kind"
_FIXED = ("classes", "recipe.optimizer.name", _KIND)
"""Fields that no flag allows to change: weights or their optimizer would not fit."""
_MIN_PART_BYTES = 2**26
_MAX_PART_OF_MODEL = 8
"""A file of tensors has at most this multiple of the model's bytes; AdamW's has two."""


def resume_run(run: Run, state: TrainingState, log: Log, *, allow_config_change: bool) -> None:
    """Restore the newest checkpoint; a recipe that changed is kept beside the first one.

    Raises:
        UserError: If no checkpoint is found, or it is of another run.
    """
    folder, processes = run.folder, run.processes
    found, changes = processes.on_all_ranks(
        lambda: find_checkpoint(
            folder, state.model, run.identity, allow_config_change=allow_config_change, say=log
        )
    )
    first_step = processes.on_rank_zero(lambda: found.step)
    processes.on_all_ranks(lambda: _check_same(found.step, first_step, folder))
    state.restore(found)
    if changes:
        path = _changed_recipe(folder, state.step)
        text = run.recipe.to_yaml().encode()
        processes.on_rank_zero(lambda: write_new(path, text, overwrite=True))
    steps = run.recipe.schedule.steps
    if state.is_finished(run.recipe):
        log(f"this run is finished: {state.step} of {steps} steps are done")
    else:
        log(f"going on from step {state.step} of {steps}")


def find_checkpoint(
    folder: Path,
    model: Segmenter,
    identity: dict[str, Any],
    *,
    allow_config_change: bool,
    say: Callable[[str], None],
) -> tuple[Checkpoint, list[str]]:
    """Read the newest checkpoint, and make sure that it is of this run.

    Args:
        folder: Folder of the run.
        model: Model that its weights must fit.
        identity: Identity of the run now; see `run_identity`.
        allow_config_change: Resume even though the recipe or the data changed.
        say: Shows damaged checkpoints and changes.

    Returns:
        The checkpoint, and what changed, as `name: before -> now`.

    Raises:
        UserError: If no checkpoint is found, or the run is another one.
    """

    def check(found: Checkpoint) -> None:
        check_state(found)
        unfit = _shape_differences(found.tensors["model"], model.state_dict())
        if unfit and not _differences(_with_defaults(found.facts["run"]), identity):
            raise DamagedError(f"it does not fit the run it is of: {unfit[0]}")

    num_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    found, warnings = read_newest(
        folder / CHECKPOINTS,
        max_part=_MIN_PART_BYTES + _MAX_PART_OF_MODEL * num_bytes,
        check=check,
    )
    for warning in warnings:
        say(f"warning: {warning}")
    differences = _differences(_with_defaults(found.facts["run"]), identity)
    unfit = [line for line in differences if line.startswith(_FIXED)]
    unfit += _shape_differences(found.tensors["model"], model.state_dict())
    if unfit:
        raise UserError(
            f"{folder} holds another run, it cannot be resumed: {'; '.join(unfit)}; "
            f"{_decoder_hint(found.facts['run'], unfit)}start a new run with another --out, from "
            "its weights with --from"
        )
    is_allowed = allow_config_change or _is_known(differences, identity, folder, found.step)
    if differences and not is_allowed:
        raise UserError(
            f"{folder} holds another run: {'; '.join(differences)}; undo the change, or allow "
            "it with --allow-config-change"
        )
    for line in differences:
        say(f"changed at step {found.step}: {line}")
    return found, differences


def _changed_recipe(folder: Path, step: int) -> Path:
    """Return the file of a recipe that was changed after a step."""
    return folder / f"recipe-from-step-{step:08d}.yaml"


def _is_known(differences: list[str], identity: dict[str, Any], folder: Path, step: int) -> bool:
    """Return True if these changes were allowed before, and no checkpoint holds them yet."""
    path = _changed_recipe(folder, step)
    if not path.is_file() or not all(line.startswith("recipe.") for line in differences):
        return False
    stored = read_recipe(str(path)).model_dump(mode="json")
    return not _differences({"recipe": stored}, {"recipe": identity["recipe"]})


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """Return the run as it was; fields that its version did not have are at their defaults."""
    try:
        recipe = make_recipe(before["recipe"], "the run so far").model_dump(mode="json")
    except UserError:
        return before
    return before | {"recipe": recipe}


def _decoder_hint(before: dict[str, Any], unfit: list[str]) -> str:
    """Say what to write to resume a run of another decoder, and what it was called before."""
    if not any(line.startswith(_KIND) for line in unfit):
        return ""
    former, kind = (_decoder_kind(run) for run in (before, _with_defaults(before)))
    was = f", which it called {former}" if former != kind else ""
    return f"to resume it, set model.decoder to {kind}{was}, or "


def _decoder_kind(run: dict[str, Any]) -> str:
    decoder = run["recipe"]["model"]["decoder"]
    return decoder["kind"] if isinstance(decoder, dict) else decoder


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return each field that differs, as `name: before -> now`."""
    found = []
    # Of the loss, a key may be gone: class weights are given by name.
    for key in before | now if prefix.startswith("recipe.loss.") else now:
        old, value, name = before.get(key), now.get(key), f"{prefix}{key}"
        if name == "photos":
            found += _file_differences(before["photos"], now["photos"])
        elif isinstance(value, dict) and isinstance(old, dict):
            found += _differences(old, value, f"{name}.")
        elif old != value:
            found.append(f"{name}: {old} -> {value}")
    return found


def _file_differences(before: list[str], now: list[str]) -> list[str]:
    """Return one line on what changed in the list of images, if anything did."""
    if before == now:
        return []
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    parts = [
        f"{len(names)} {what} (such as {names[0]})"
        for what, names in (("gone", gone), ("new", new))
        if names
    ]
    return [f"images: {', '.join(parts) or 'in another order'}"]


def _shape_differences(before: dict[str, Tensor], now: dict[str, Tensor]) -> list[str]:
    """Return the first weight that differs in shape between the checkpoint and the model."""
    for name in sorted(before.keys() | now.keys()):
        old, new = (list(part[name].shape) if name in part else None for part in (before, now))
        if old != new:
            return [f"weight {name}: {old} -> {new}"]
    return []


def _check_same(step: int, first_step: int, folder: Path) -> None:
    if step != first_step:
        raise UserError(
            f"the processes see different checkpoints in {folder} (steps {first_step} and {step}); "
            "put the run's folder where all of them can read it"
        )
