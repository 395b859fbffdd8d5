"""The recipe: all settings of a training run, as one strict YAML file.

Recipes have no inheritance, and defaults only in this folder and in the settings of decoders. The
resolved recipe is written into the run's folder and into the model.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segmenter import numbers
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem, nearest, read_yaml
from segmenter.model.protocol import ProtocolFields, PublishedName
from segmenter.numbers import STRICT, Rate, Ratio, Real, Share, Side, Steps, Whole
from segmenter.recipe.loss import LossRecipe
from segmenter.recipe.model import ModelRecipe
from segmenter.recipe.renamed import refuse_old_names, upgrade

Scale = Annotated[Real, numbers.AUGMENT_SCALE]
ColorJitter = Literal["none", "paddleseg", "segmenter"]
TrackerName = Literal["tensorboard", "wandb", "mlflow"]


class DataRecipe(BaseModel):
    """The data set and its splits."""

    model_config = STRICT

    root: str
    """Folder of the data set: `images`, `masks`, `classes.yaml`; or NAME:PATH of a published one,
    such as `ade20k:data/ADEChallengeData2016`."""
    train: tuple[str, ...] = ("train",)
    """Splits to train on."""
    val: str | None = "val"
    """Split to evaluate on during training. None: no scores; only the last model is kept."""
    hold_out: Annotated[Real, numbers.INNER_SHARE] = 0.1
    """Where the data has no `val` split: the share of `train` that takes its place, chosen by a
    hash of the file names."""
    max_unreadable: Share = 0.01
    """Largest share of training images that may be unreadable. Others are drawn in their place;
    above this share, the run stops."""


class AugmentRecipe(BaseModel):
    """Augmentation: how a training image becomes a crop; see `data/transforms.py`."""

    model_config = STRICT

    crop_size: Annotated[Whole, numbers.CROP_SIDE]
    """Side of the square crop, in pixels."""
    scale: tuple[Scale, Scale] = (0.5, 2.0)
    """Smallest and largest factor by which an image is resized before it is cropped."""
    scale_draw: Literal["uniform", "log-uniform", "quarters"] = "uniform"
    """How the factor is drawn; `quarters`: one of the multiples of 0.25 in the range."""
    scale_base: Side | None = None
    """Short side at factor 1, in pixels, as far as `max_ratio` allows. None: the image's own."""
    max_ratio: Ratio = 4.0
    """The long side is resized to at most this many times `scale_base`, times the factor."""
    flip: Share = 0.5
    """Share of crops that are mirrored left to right."""
    max_class_share: Share = 1.0
    """Draw the crop again, up to 10 times in all, while it has no labels or one class has more than
    this share of them. 1: take the first."""
    rare_class_crops: Share = 0.0
    """Share of crops placed on a pixel of a rare class: its class is drawn evenly from those with
    less than `rare_class_below` of the training pixels."""
    rare_class_below: Share = 0.02
    """Pixel share under which a class counts as rare."""
    color: ColorJitter = "segmenter"
    """Colour jitter: that of PaddleSeg's recipes, or of the paper's."""
    pad_value: Literal["grey", "mean"] = "mean"
    """What fills a crop that reaches past the image: 127.5, or the mean (0 after normalising)."""

    @model_validator(mode="after")
    def _check(self) -> "AugmentRecipe":
        low, high = self.scale
        if low > high:
            raise ValueError(f"scale is (smallest, largest), got ({low}, {high})")
        if self.scale_draw == "quarters" and math.ceil(low * 4) > math.floor(high * 4):
            raise ValueError(
                f"scale_draw 'quarters' needs a multiple of 0.25 in scale, got ({low}, {high})"
            )
        return self


class OptimizerRecipe(BaseModel):
    """Optimizer, and the learning rate of each part of the model."""

    model_config = STRICT

    name: Literal["sgd", "adamw"]
    """Stochastic gradient descent with momentum, or AdamW."""
    lr: Annotated[Real, numbers.LEARNING_RATE]
    """Learning rate of the encoder's last block, after warm-up."""
    relative_lr: bool = False
    """Multiply the rate of each tensor by its root mean square at the start of the run, so that all
    tensors change by the same proportion (Adafactor, section 8)."""
    decoder_lr_factor: Annotated[Real, numbers.FACTOR] = 1.0
    """The decoder's learning rate, as a multiple of `lr`."""
    layer_decay: Annotated[Real, numbers.SOME_SHARE] = 1.0
    """Learning rate of each encoder block, as a multiple of the next block's."""
    frozen_blocks: Annotated[Whole, numbers.FROZEN_BLOCKS] | Literal["all"] = 0
    """Freeze the patch embedding and this many first encoder blocks; `all` freezes the whole
    encoder, with its last norm."""
    weight_decay: Annotated[Real, numbers.WEIGHT_DECAY] = 0.0
    """Decay of weight matrices; biases, norms, tokens and positions have none."""
    momentum: Rate = 0.9
    """SGD's momentum."""
    nesterov: bool = False
    """SGD with Nesterov momentum (the paper's own code)."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """AdamW's decay of the two moments."""
    clip_grad_norm: Annotated[Real, numbers.NORM] | None = None
    """Clip the norm of all gradients to this. None: no clipping."""


class ScheduleRecipe(BaseModel):
    """Number of steps, and the learning rate over them."""

    model_config = STRICT

    steps: Steps
    """Optimizer updates."""
    warmup_steps: Annotated[Whole, numbers.WARMUP_STEPS] = 0
    """Steps over which the rate rises linearly from 0."""
    power: Annotated[Real, numbers.POWER] = 0.9
    """The rate falls as (1 - step / steps) ** power."""
    final_lr: Annotated[Real, numbers.FINAL_RATE] = 0.0
    """Value of `lr` at the last step; other parameter groups in proportion."""

    @model_validator(mode="after")
    def _check(self) -> "ScheduleRecipe":
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be less than steps ({self.steps})"
            )
        return self


class ProtocolRecipe(ProtocolFields):
    """How the model is evaluated and used; stored in the model as its protocol."""

    model_config = ConfigDict(strict=True)  # no conversion of numbers, as in STRICT

    rules: PublishedName | None = None
    """Evaluate as a published code base does, with the sizes given here. None: our own rules."""


class Recipe(BaseModel):
    """One training run, from data to model."""

    model_config = STRICT

    name: Annotated[str, Field(pattern=r"^\w[\w .+-]*$", max_length=100)]
    """Name of the run, and of its folder under `runs/`: letters, digits, blanks, and . + - _"""
    model: ModelRecipe
    data: DataRecipe
    augment: AugmentRecipe
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe
    schedule: ScheduleRecipe
    protocol: ProtocolRecipe = ProtocolRecipe()
    batch_size: Annotated[Whole, numbers.CROPS]
    """Crops in one optimizer update."""
    accumulate: Annotated[Whole, numbers.CROPS] = 1
    """Parts of a batch, computed one after the other to save memory (gradient accumulation)."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the model's matrix products; weights are always float32. `auto`: bfloat16 where
    the device has it, else float32; the recipe in the run's folder says which. float16 scales the
    loss so that small gradients are not lost, and its models are scored in float32."""
    ema_decay: Rate = 0.0
    """Decay of a moving average of the weights, which is then evaluated and kept; 0: no average."""
    seed: Annotated[Whole, numbers.SEED] = 0
    """Seed; all random numbers are functions of it and the step."""
    workers: Annotated[Whole, numbers.WORKERS] = 2
    """Processes that read and augment images; 0: the training process."""
    log_every: Steps = 20
    """Steps between two lines of the log."""
    evaluate_every: Steps = 1000
    """Steps between two evaluations on `data.val`; the last step is always followed by one."""
    save_every: Steps = 500
    """Steps between two checkpoints."""
    stop_after: Steps | None = None
    """End the run after this many scores in a row without a new best (early stopping). None: take
    all steps."""
    track: tuple[TrackerName, ...] = ()
    """Experiment trackers to log to, beside the run's own log; needs the extra `track`."""
    provenance: str = ""
    """Stored in the model: where its data and starting weights come from."""
    license: str = ""
    """Stored in the model: the licence of its weights."""

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulate "
                f"({self.accumulate})"
            )
        if self.model.encoder is None and self.model.weights is None:
            raise ValueError("model.encoder and model.weights are both missing: give one")
        if self.model.allow_partial_weights and self.model.weights is None:
            raise ValueError(
                "model.allow_partial_weights is set, but model.weights gives nothing to start from"
            )
        if self.stop_after is not None and self.data.val is None:
            raise ValueError("stop_after is set, but data.val gives nothing to score")
        if self.data.val in self.data.train:
            raise ValueError(
                f"data.val ({self.data.val!r}) is also in data.train; scores on it would flatter"
            )
        return self

    def to_yaml(self) -> str:
        """Return the text of a recipe file that reads back equal."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def packaged_recipes() -> dict[str, Path]:
    """Return the packaged recipes: name -> file."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_recipe(name_or_path: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe by packaged name or path, and change single fields of it.

    Args:
        name_or_path: A name of `packaged_recipes`, or a YAML file.
        changes: Fields to set, nested as in the file, such as `{"schedule": {"steps": 100}}`.

    Raises:
        UserError: If there is no such recipe, or it is not valid.
    """
    packaged = packaged_recipes()
    path = packaged.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(
            f"no recipe {name_or_path!r}{nearest(name_or_path, list(packaged))}: neither a file "
            f"nor one of {', '.join(packaged)}"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no recipe: it holds no `key: value` lines")
    changed = list(_names(changes or {}))
    source = f"{path}, with {', '.join(changed)} changed" if changed else str(path)
    refuse_old_names(changed, source)
    return make_recipe(_merge(upgrade(content, source), changes or {}), source)


def make_recipe(content: dict[str, Any], source: str) -> Recipe:
    """Check the fields of a recipe; `source` says in errors where they come from.

    Raises:
        UserError: If a key is unknown, a value impossible, or two contradict.
    """
    try:
        return Recipe.model_validate(upgrade(content, source))
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, Recipe)}") from None


def _names(changes: dict[str, Any], section: str = "") -> Iterator[str]:
    """Yield the fields that are set, such as `schedule.steps`."""
    for key, value in changes.items():
        field = section + key.replace("-", "_")
        if isinstance(value, dict):
            yield from _names(value, f"{field}.")
        else:
            yield field


def _merge(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set fields given on the command line; the check of the recipe finds unknown ones."""
    merged = dict(content)
    for key, value in changes.items():
        field = key.replace("-", "_")
        before = merged.get(field)
        if isinstance(before, dict) and "kind" in before and isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, dict):
            kept = before if isinstance(before, dict) else {}
            if value.get("kind", kept.get("kind")) != kept.get("kind"):
                kept = {}  # another decoder has other settings
            merged[field] = _merge(kept, value)
        else:
            merged[field] = value
    return merged
