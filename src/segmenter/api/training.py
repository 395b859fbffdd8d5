"""`segmenter.train`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from pydantic import BaseModel

from segmenter.api.keywords import RECIPE_FIELDS, TRAIN, Section, TrainKeywords
from segmenter.api.option_values import as_texts, make_options, shows_options
from segmenter.api.run_recipe import read_run_recipe
from segmenter.api.run_training import run_training
from segmenter.calls import check_types
from segmenter.checkpoints.model_file import read_spec
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.options import DEFAULT_RECIPE, RunFolder
from segmenter.recipe import Recipe
from segmenter.text import percent, visible
from segmenter.training.signals import Stopped

_OWN = ("data", "images", "masks", "start", "partial")
"""Arguments of `train` itself."""
_SECTIONS = tuple(
    name
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
)


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """The result of `train`: the file of a model, and its scores.

    Example:
        trained = segmenter.train(data="fields")
        trained.path, trained.miou, trained.scores["pixel_accuracy"]
    """

    path: Path
    """File of the best model, or of the last one if the run evaluates none."""
    folder: Path
    """Folder of the run, with the last model, the recipe, the log and the checkpoints."""
    scores: dict[str, Any] = field(default_factory=dict)
    """Scores on the validation images, from 0 to 1, as in the JSON of `segmenter evaluate`; empty
    if the run evaluates none."""

    @property
    def miou(self) -> float | None:
        """Mean IoU on the validation images, from 0 to 1; None if the run evaluates none."""
        return self.scores.get("miou")

    def __repr__(self) -> str:
        """Return path and score in one line."""
        return f"TrainedModel({visible(str(self.path))}, val mIoU {percent(self.miou)})"


@shows_options(*TRAIN)
def train(
    recipe: str | Path = DEFAULT_RECIPE,
    *,
    data: str | Path | Section | None = None,
    images: str | None = None,
    masks: str | None = None,
    start: str | Path | None = None,
    partial: bool | None = None,
    **options: Unpack[TrainKeywords],
) -> TrainedModel:
    """Train a model from a recipe, or from a folder of images and masks alone.

    Any field of the recipe is a keyword too, and a section of it takes its fields as a dictionary:
    `batch_size=4, schedule={"steps": 2000}`. `segmenter recipes NAME` prints a recipe.

    An interrupt ends the run after the current step, saves everything, and raises `EarlyExit`;
    `resume=True` continues it. A script needs `if __name__ == "__main__":` around the
    call, since processes read the images.

    Args:
        recipe: A packaged recipe's name, or a YAML file.
        data: Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a published
            one. Or fields of the recipe's section: `{"root": "fields", "val": None}`.
        images, masks: Patterns of images and masks, such as `img/{}.jpg`, where `{}` is what the
            names of image and mask share (recipe: data.images, data.masks).
        start: Model or encoder to start from (recipe: model.weights).
        partial: Load the tensors that match and initialise the others (recipe:
            model.allow_partial_weights).
        options: See below, and the recipe.

    Returns:
        `path` of the model, its `scores` and `miou` on the validation images, and the `folder` of
        the run.

    Raises:
        UserError: If the recipe, the data, the weights, the device or the folder cannot be used.
        EarlyExit: If a signal ended it, after everything was saved.

    Example:
        trained = segmenter.train(data="fields", out="runs/fields", schedule={"steps": 500})
        segmenter.Predictor(trained.path).segment("photo.jpg")
    """
    (recipe,) = as_texts("train", recipe=recipe)
    fields = {name: value for name, value in options.items() if name in RECIPE_FIELDS}
    others = {name: value for name, value in options.items() if name not in fields}
    _check_names(others)
    run, hardware, execution = make_options("train", others, *TRAIN)
    checked = _checked_recipe(recipe, fields, run, data, images, masks, start, partial)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):  # dropout is seeded anew at each step
        ended = run_training(checked, run, hardware, execution)
    if ended.status == Stopped.exit_status:  # of the processes, which said at which step
        raise Stopped(None)
    if ended.status:
        raise UserError(
            f"the processes of the run ended with status {ended.status}; standard error has the "
            "reason"
        )
    return _trained(ended.folder)


def _checked_recipe(
    recipe: str,
    fields: dict[str, Any],
    run: RunFolder,
    data: str | Path | Section | None,
    images: str | None,
    masks: str | None,
    start: str | Path | None,
    partial: bool | None,
) -> Recipe:
    """Read the recipe and change the fields that were given; `train` documents the arguments."""
    types = {"partial": bool | None, "images": str | None, "masks": str | None}
    check_types("train", types, {"partial": partial, "images": images, "masks": masks})
    root = None
    if isinstance(data, Mapping):
        fields["data"] = data
    elif data is not None:
        (root,) = as_texts("train", data=data)
    if start is not None:
        (start,) = as_texts("train", start=start)
    _check_sections(fields)
    short = {
        "data.root": root,
        "data.images": images,
        "data.masks": masks,
        "model.weights": start,
        "model.allow_partial_weights": partial,
    }
    return read_run_recipe(recipe, short, _plain(fields), run)


def _trained(folder: Path) -> TrainedModel:
    best, last = folder / "best.safetensors", folder / "last.safetensors"
    path = best if best.is_file() else last
    return TrainedModel(path, folder, read_spec(path).scores.get("val", {}))


def _check_names(others: Mapping[str, object]) -> None:
    """Refuse a keyword that is neither an option nor a field of the recipe."""
    known = [name for kind in TRAIN for name in kind.__dataclass_fields__]
    for name in others:
        if name in known:
            continue
        options = sorted([*known, *_OWN])
        section = next((each for each in _SECTIONS if name in _fields_of(each)), None)
        if section:
            hint = f"; it is a field of a section: {section}={{{name!r}: ...}}"
        else:
            hint = nearest(name, [*options, *RECIPE_FIELDS])
        raise UserError(
            f"train has no option {name!r}{hint}; its options are {', '.join(options)}, and the "
            f"fields of a recipe: {', '.join(RECIPE_FIELDS)}"
        )


def _fields_of(section: str) -> set[str]:
    """Return the fields of a section of the recipe."""
    return set(getattr(Recipe.model_fields[section].annotation, "model_fields", {}))


def _check_sections(fields: Mapping[str, object]) -> None:
    """Refuse anything but fields for a section of the recipe."""
    for name in _SECTIONS:
        if name in fields and not isinstance(fields[name], Mapping):
            raise UserError(
                f"train: {name} is a section of the recipe; give its fields as a dictionary, got "
                f"{type(fields[name]).__name__}"
            )


def _plain(value: Any) -> Any:
    """Return fields of a recipe as a YAML file has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
