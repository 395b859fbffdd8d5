"""`segmenter train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from segmenter import options
from segmenter.commands.arguments import WordError
from segmenter.commands.flags import flat
from segmenter.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Start:
    """Data set and starting weights; each is also a field of the recipe."""

    folder: Annotated[str | None, Parameter(name="--data")] = None
    """Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a published one,
    such as `ade20k:data/ADEChallengeData2016` (recipe: data.root)."""
    start: Annotated[str | None, Parameter(name="--from")] = None
    """Model or encoder to start from (recipe: model.weights)."""
    partial: bool | None = None
    """Load the tensors that match and initialise the others (recipe:
    model.allow_partial_weights)."""


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Folder of a run, and whether to resume it."""

    out: Path | None = None
    """Folder to write to. [default: `runs/` and the recipe's name]"""
    resume: bool = False
    """Resume from the newest checkpoint in the folder of the run."""
    allow_config_change: bool = False
    """Resume even though the recipe or the data changed."""


def _field(_type: object, tokens: dict[str, Any] | list[Token]) -> Any:
    """Parse `--section.field VALUE` into a nested value; the recipe checks it."""
    if isinstance(tokens, dict):
        return {key: _field(_type, inner) for key, inner in tokens.items()}
    from segmenter.files.yaml import parse_value

    if not tokens[-1].value.strip():  # YAML would read it as null
        raise WordError(tokens[-1], "is empty; give it a value, or `null` for none")
    return parse_value(tokens[-1].value)


def train(
    recipe: str = "finetune",
    *,
    start: Annotated[Start, flat("Data and start")] = Start(),
    run: Annotated[RunFolder, flat("Run")] = RunFolder(),
    hardware: Annotated[options.Hardware, flat("Computation")] = options.Hardware(),
    execution: Annotated[options.Execution, flat("Computation")] = options.Execution(),
    **fields: Annotated[Any, Parameter(converter=_field, n_tokens=1, show=False)],
) -> int:
    """Run `segmenter train`.

    Args:
        recipe: A packaged recipe's name, or a YAML file.
    """
    from segmenter.recipe import read_recipe

    checked = read_recipe(recipe, _changes(start, fields))
    root = Path(checked.data.root)
    if start.folder is None and ":" not in checked.data.root and not root.exists():
        raise UserError(f"no such folder: {root}; say where the data set is with --data FOLDER")
    from segmenter.commands.run_training import run_training  # torch: seconds

    return run_training(
        checked,
        run.out,
        hardware.device,
        devices=hardware.devices,
        execution=execution,
        resume=run.resume,
        allow_config_change=run.allow_config_change,
    )


def _changes(start: Start, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields to change in the recipe, nested as in its file."""
    given: dict[str, Any] = {"data": {}, "model": {}}
    for key, value in fields.items():
        given[key] = given.get(key, {}) | value if isinstance(value, dict) else value
    for key in ("data", "model"):
        if not isinstance(given[key], dict):
            raise UserError(
                f"--{key} is a section of the recipe; name a field of it, --{key}.FIELD VALUE"
            )
    short = (
        ("data", "root", start.folder),
        ("model", "weights", start.start),
        ("model", "allow_partial_weights", start.partial),
    )
    for section, field, value in short:
        if value is not None:
            given[section][field] = value
    return given
