"""`segmenter train`."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, Token

from segmenter import options
from segmenter.commands.arguments import WordError
from segmenter.commands.flags import flat


@dataclass(frozen=True, kw_only=True)
class Start:
    """Data set and starting weights; each is also a field of the recipe."""

    folder: Annotated[str | None, Parameter(name="--data")] = None
    """Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a published one,
    such as `ade20k:data/ADEChallengeData2016` (recipe: data.root)."""
    images: str | None = None
    """Pattern of the images in the data set, such as `img/{}.jpg`, where `{}` is what the names of
    image and mask share (recipe: data.images)."""
    masks: str | None = None
    """Pattern of their masks, such as `labels/{}_mask.png` (recipe: data.masks)."""
    start: Annotated[str | None, Parameter(name="--from")] = None
    """Model or encoder to start from (recipe: model.weights)."""
    partial: bool | None = None
    """Load the tensors that match and initialise the others (recipe:
    model.allow_partial_weights)."""


def _field(_type: object, tokens: dict[str, Any] | list[Token]) -> Any:
    """Parse `--section.field VALUE` into a nested value; the recipe checks it."""
    if isinstance(tokens, dict):
        return {key: _field(_type, inner) for key, inner in tokens.items()}
    from segmenter.files.yaml import parse_value

    if not tokens[-1].value.strip():  # YAML would read it as null
        raise WordError(tokens[-1], "is empty; give it a value, or `null` for none")
    return parse_value(tokens[-1].value)


def train(
    recipe: str = options.DEFAULT_RECIPE,
    *,
    start: Annotated[Start, flat("Data and start")] = Start(),
    run: Annotated[options.RunFolder, flat("Run")] = options.RunFolder(),
    hardware: Annotated[options.Hardware, flat("Computation")] = options.Hardware(),
    execution: Annotated[options.Execution, flat("Computation")] = options.Execution(),
    **fields: Annotated[Any, Parameter(converter=_field, n_tokens=1, show=False)],
) -> int:
    """Run `segmenter train`.

    Args:
        recipe: A packaged recipe's name, or a YAML file.
    """
    from segmenter.api.run_recipe import read_run_recipe

    short = {
        "data.root": start.folder,
        "data.images": start.images,
        "data.masks": start.masks,
        "model.weights": start.start,
        "model.allow_partial_weights": start.partial,
    }
    checked = read_run_recipe(recipe, short, fields, run)
    from segmenter.api.run_training import run_training  # torch: seconds

    ended = run_training(checked, run, hardware, execution)
    if ended.is_reported_here:
        print(ended.folder / "last.safetensors")
    return ended.status
