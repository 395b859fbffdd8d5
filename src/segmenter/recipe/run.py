"""The recipe: all settings of a training run, as one strict YAML file.

Recipes have no inheritance, and defaults only in this folder and in the settings of decoders. The
resolved recipe is written into the run's folder and into the model.
"""

from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from segmenter import numbers
from segmenter.model.protocol import ProtocolFields, PublishedName
from segmenter.numbers import STRICT, Rate, Steps, Whole
from segmenter.recipe.augmentation import AugmentRecipe
from segmenter.recipe.auto import AutoField, GivenAuto, take_autos, with_fields
from segmenter.recipe.data import DataRecipe
from segmenter.recipe.loss import LossRecipe
from segmenter.recipe.model import ModelRecipe
from segmenter.recipe.optimization import OptimizerRecipe, ScheduleRecipe

TrackerName = Literal["tensorboard", "wandb", "mlflow"]


class ProtocolRecipe(ProtocolFields):
    """Evaluation and use of the model; stored in the model as its protocol."""

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
    """Stored in the model: the licence of its weights. What it inherits from `weights` and from its
    teacher is added."""
    auto: Annotated[dict[AutoField, GivenAuto], Field(exclude=True)] = {}
    """Fields that are chosen before the first step, because they are given as `auto`: crop size,
    `scale_base`, short side, window and stride from the data (docs/explanation/sizes.md), and the
    decoder from the starting model, with the settings that are given beside `auto`. The recipe in
    the folder of a run has the values."""

    @model_validator(mode="before")
    @classmethod
    def _take_autos(cls, content: Any) -> Any:
        return take_autos(content)

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
        if (teacher := self.loss.teacher) and teacher.is_average and not self.ema_decay:
            raise ValueError("loss.teacher.model is 'average', which needs ema_decay, such as 0.99")
        if self.stop_after is not None and self.data.val is None:
            raise ValueError("stop_after is set, but data.val gives nothing to score")
        if self.data.val in self.data.train:
            raise ValueError(
                f"data.val ({self.data.val!r}) is also in data.train; its scores would be too high"
            )
        return self

    def to_yaml(self) -> str:
        """Return the text of a recipe file that reads back equal."""
        content = with_fields(self.model_dump(mode="json"), self.auto)
        return yaml.safe_dump(content, sort_keys=False)
