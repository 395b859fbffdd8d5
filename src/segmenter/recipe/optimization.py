"""The sections `optimizer` and `schedule` of a recipe."""

from typing import Annotated, Literal

from pydantic import BaseModel, model_validator

from segmenter import numbers
from segmenter.numbers import STRICT, Rate, Real, Steps, Whole


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
    encoder_warmup_steps: Annotated[Whole, numbers.WARMUP_STEPS] = 0
    """Steps after `warmup_steps` over which the encoder's rate rises linearly; before them, the
    encoder does not learn (EoMT). 0: it rises with the decoder's rate."""
    power: Annotated[Real, numbers.POWER] = 0.9
    """The rate falls as (1 - step / steps) ** power."""
    final_lr: Annotated[Real, numbers.FINAL_RATE] = 0.0
    """Value of `lr` at the last step; other parameter groups in proportion."""

    @model_validator(mode="after")
    def _check(self) -> "ScheduleRecipe":
        if self.warmup_steps + self.encoder_warmup_steps >= self.steps > self.warmup_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) and encoder_warmup_steps "
                f"({self.encoder_warmup_steps}) together must be less than steps ({self.steps})"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be less than steps ({self.steps}); "
                f"set schedule.warmup_steps as well, such as to {self.steps // 10}"
            )
        return self
