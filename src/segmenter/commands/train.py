"""Arguments of `segmenter train`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from segmenter.commands.arguments import WordError
from segmenter.errors import UserError


def _field(_type: object, tokens: dict[str, Any] | list[Token]) -> Any:
    """Take `--section.field VALUE` as a nested value; the recipe checks it."""
    if isinstance(tokens, dict):
        return {key: _field(_type, inner) for key, inner in tokens.items()}
    from segmenter.files.yaml import parse_value

    if not tokens[-1].value.strip():  # YAML would read it as null
        raise WordError(tokens[-1], "is empty; give it a value, or `null` for none")
    return parse_value(tokens[-1].value)


def train(
    recipe: str = "finetune",
    *,
    folder: Annotated[str | None, Parameter(name="--data")] = None,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    partial: bool | None = None,
    out: Path | None = None,
    resume: bool = False,
    allow_config_change: bool = False,
    device: str | None = None,
    devices: int | None = None,
    shard: bool = False,
    compile: bool = False,
    deterministic: bool = False,
    **fields: Annotated[Any, Parameter(converter=_field, n_tokens=1)],
) -> int:
    """Train a model from a recipe, or from a folder of images and masks alone.

    Args:
        recipe: A packaged recipe's name, or a YAML file.
        folder: Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a
            published one, such as `ade20k:data/ADEChallengeData2016` (recipe: data.root).
        start: A model or encoder to start from (recipe: model.weights).
        partial: Load the tensors that match; initialise the others (recipe:
            model.allow_partial_weights).
        out: Folder of the run; without it, `runs/` and the recipe's name.
        resume: Go on from the newest checkpoint in the folder of the run.
        allow_config_change: Go on though recipe or images are not those of the run so far.
        device: Where to compute: cpu (the default of one process), cuda, cuda:1, mps.
        devices: Processes on this machine, each with a share of the batch: one for each GPU if
            there are any, else on the CPU. For several machines, start with torchrun.
        shard: Keep a part of the weights in each process (fully_shard), for models that are large.
        compile: Compile the model with torch.compile; needs a C++ compiler.
        deterministic: Only algorithms that give the same bits each time; slower on a GPU.
        fields: Any field of the recipe, such as `--schedule.steps 2000` or `--batch_size 4`.
    """
    from segmenter.recipe import read_recipe

    given: dict[str, Any] = {"data": {}, "model": {}}
    for key, value in fields.items():
        given[key] = given.get(key, {}) | value if isinstance(value, dict) else value
    for key in ("data", "model"):
        if not isinstance(given[key], dict):
            raise UserError(
                f"--{key} is a section of the recipe; name a field of it, --{key}.FIELD VALUE"
            )
    if folder is not None:
        given["data"]["root"] = folder
    if start is not None:
        given["model"]["weights"] = start
    if partial is not None:
        given["model"]["allow_partial_weights"] = partial
    checked = read_recipe(recipe, given)
    from segmenter.commands.run_training import Execution, run_training  # torch: seconds

    return run_training(
        checked,
        out,
        device,
        devices=devices,
        execution=Execution(shard=shard, compile=compile, deterministic=deterministic),
        resume=resume,
        allow_config_change=allow_config_change,
    )
