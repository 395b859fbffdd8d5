"""Train the encoder and decoder of a fitted model for a time.

The learning rate is a function of the time that has gone by, so a slow machine takes fewer steps of
the same schedule. Classes weigh as they do in the fit: pixels that all weigh alike would unlearn
the rare classes within some dozen steps. Augmentation and learning rates are those of the recipe
`finetune`.
"""

import contextlib
import time
from collections.abc import Callable, Sequence

from jaxtyping import Int64
from numpy import ndarray

from segmenter.data.folder import Item
from segmenter.data.loading import make_loader
from segmenter.data.unreadable import Unreadable
from segmenter.errors import UserError
from segmenter.fitting.classifier import class_factors
from segmenter.fitting.left_out import BALANCE
from segmenter.model import Segmenter
from segmenter.recipe import Recipe
from segmenter.runtimes.devices import has_bfloat16
from segmenter.training.ema import WeightAverage
from segmenter.training.optimizer import (
    freeze,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from segmenter.training.parallel import DistributedModel, choose_attention
from segmenter.training.prepare import build_loss, build_stream
from segmenter.training.step import train_step

_CROP_PATCHES = 28
"""Side of crops in patches, at most: smaller crops take more steps in the time."""
_TICKS = 1000
"""Steps of the schedule, whatever the number of updates is."""
_MAX_STEPS = 50_000


def tune(
    model: Segmenter,
    recipe: Recipe,
    items: Sequence[Item],
    pixel_counts: Int64[ndarray, "items classes"],
    seconds: float,
    on_progress: Callable[[float], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Segmenter:
    """Return a copy of a model, trained for the given seconds.

    Args:
        model: Fitted to the same images.
        recipe: Gives augmentation, learning rates and loss.
        items: Images and masks to train on.
        pixel_counts: Labelled pixels of each class in each of them.
        seconds: Time that training takes.
        on_progress: Told after each step how much of the time has gone by, 0 to 1.
        clock: Gives seconds.

    Raises:
        UserError: If an image cannot be read, or one crop alone does not fit into memory.
    """
    recipe = _timed(recipe, model, pixel_counts.sum(axis=0))
    tuned = Segmenter(model.spec).to(model.mean.device)
    tuned.load_state_dict(model.state_dict())
    freeze(tuned.train(), recipe.optimizer)
    tuned.decoder.eval()  # its weights belong to the statistics of the fit, which so stay
    choose_attention(tuned, recipe.precision)
    optimizer = make_optimizer(tuned, recipe.optimizer)
    average = WeightAverage(tuned, recipe.ema_decay)
    loss = build_loss(recipe, model, pixel_counts)
    stream = build_stream(recipe, tuned, tuple(items), pixel_counts)
    distributed = DistributedModel(tuned)
    batches = make_loader(
        stream,
        range(_MAX_STEPS * recipe.batch_size),
        recipe.batch_size,
        workers=0,
        on_unreadable=_refuse,
    )
    began, last = clock(), 0.0
    with contextlib.closing(batches):
        for step, batch in enumerate(batches):
            progress = (clock() - began) / seconds
            if progress + (progress - last) >= 1:  # a step like the last one takes too long
                break
            last = progress
            tick = int(progress * _TICKS)
            set_learning_rate(optimizer, learning_rate(recipe.optimizer.lr, recipe.schedule, tick))
            result = train_step(distributed, optimizer, batch, recipe, loss)
            if result.is_finite:
                average.update(tuned, step)
            on_progress(min((clock() - began) / seconds, 1.0))
    return average.averaged(tuned)


def _timed(recipe: Recipe, model: Segmenter, pixel_counts: Int64[ndarray, " classes"]) -> Recipe:
    """Return the recipe with a schedule in parts of the time, and with crops of bounded size.

    The loss has the weights of the fit, 1 on average over the pixels.
    """
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(model.mean.device) else "float32"
    most = _CROP_PATCHES * model.spec.encoder.patch_size
    crop_size = min(recipe.augment.crop_size, most)
    schedule = {"steps": _TICKS, "warmup_steps": _TICKS // 10}
    weights = class_factors(pixel_counts, BALANCE)
    weights *= pixel_counts.sum() / (weights * pixel_counts).sum()
    loss = {"class_weights": tuple(weights.tolist())}
    return recipe.model_copy(
        update={
            "precision": precision,
            "augment": recipe.augment.model_copy(update={"crop_size": crop_size}),
            "schedule": recipe.schedule.model_copy(update=schedule),
            "loss": recipe.loss.model_copy(update=loss),
        }
    )


def _refuse(found: Unreadable) -> None:
    raise UserError(f"{found.image}: {found.reason}")
