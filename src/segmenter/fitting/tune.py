"""Train the encoder and decoder of a fitted model for a time.

The learning rate is a function of the time that has passed, so a slow machine takes fewer steps of
the same schedule. Classes weigh as they do in the fit: pixels that all weigh alike would unlearn
the rare classes within some dozen steps. Augmentation and learning rates are those of the recipe
`finetune`.
"""

import contextlib
import time
from collections.abc import Callable, Sequence

from jaxtyping import Int64
from numpy import ndarray

from segmenter.data.class_weights import one_on_average
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


class Tuning:
    """The training of a copy of a fitted model; its time may be divided among sets of images.

    Example:
        tuning = Tuning(model, recipe, seconds=300)
        tuning.train(most_items, most_counts, until=0.6)
        if is_better(tuning.averaged()):  # on the items left out
            tuning.train(all_items, all_counts)
    """

    def __init__(
        self,
        model: Segmenter,
        recipe: Recipe,
        seconds: float,
        on_progress: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare a copy.

        Args:
            model: Fitted to the same images.
            recipe: Gives augmentation, learning rates and loss.
            seconds: Time that all training takes.
            on_progress: Called after each step with the share of the time that has passed, 0 to 1.
            clock: Gives seconds.
        """
        self.recipe, self.seconds = _timed(recipe, model), seconds
        self.on_progress, self.clock = on_progress, clock
        self.steps = 0
        """Updates of the weights so far."""
        self._spent = self._step_share = 0.0
        self._tuned = Segmenter(model.spec).to(model.mean.device)
        self._tuned.load_state_dict(model.state_dict())
        freeze(self._tuned.train(), self.recipe.optimizer)
        self._tuned.decoder.eval()  # its weights belong to the statistics of the fit, which so stay
        choose_attention(self._tuned, self.recipe.precision)
        self._optimizer = make_optimizer(self._tuned, self.recipe.optimizer)
        self._average = WeightAverage(self._tuned, self.recipe.ema_decay)

    def train(
        self,
        items: Sequence[Item],
        pixel_counts: Int64[ndarray, "items classes"],
        until: float = 1.0,
    ) -> None:
        """Train until a share of the time has passed, 0 to 1.

        Args:
            items: Images and masks to train on.
            pixel_counts: Labelled pixels of each class in each of them.
            until: Share of all the time, that of earlier calls included.

        Raises:
            UserError: If an image cannot be read, or one crop alone does not fit into memory.
        """
        recipe = _weighted(self.recipe, pixel_counts.sum(axis=0))
        loss = build_loss(recipe, self._tuned, pixel_counts)
        stream = build_stream(recipe, self._tuned, tuple(items), pixel_counts)
        distributed, size = DistributedModel(self._tuned), recipe.batch_size
        crops = range(self.steps * size, _MAX_STEPS * size)
        batches = make_loader(stream, crops, size, workers=0, on_unreadable=_refuse)
        began = self.clock() - self._spent
        with contextlib.closing(batches):
            for batch in batches:
                progress = (self.clock() - began) / self.seconds
                if progress + self._step_share >= until:  # a step like the last takes too long
                    break
                self._set_learning_rate(progress)
                result = train_step(distributed, self._optimizer, batch, recipe, loss)
                if result.is_finite:
                    self._average.update(self._tuned, self.steps)
                self.steps += 1
                after = (self.clock() - began) / self.seconds
                self._step_share = after - progress
                self.on_progress(min(after, 1.0))
        self._spent = self.clock() - began

    def averaged(self) -> Segmenter:
        """Return the model so far: the average of its weights, in memory that training changes."""
        return self._average.averaged(self._tuned)

    def _set_learning_rate(self, progress: float) -> None:
        optimizer, schedule = self.recipe.optimizer, self.recipe.schedule
        now = learning_rate(optimizer.lr, schedule, int(progress * _TICKS))
        set_learning_rate(self._optimizer, now)


def _timed(recipe: Recipe, model: Segmenter) -> Recipe:
    """Return the recipe with a schedule in parts of the time, and with crops of bounded size."""
    precision = recipe.precision
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(model.mean.device) else "float32"
    most = _CROP_PATCHES * model.spec.encoder.patch_size
    crop_size = min(recipe.augment.crop_size, most)
    schedule = {"steps": _TICKS, "warmup_steps": _TICKS // 10}
    return recipe.model_copy(
        update={
            "precision": precision,
            "augment": recipe.augment.model_copy(update={"crop_size": crop_size}),
            "schedule": recipe.schedule.model_copy(update=schedule),
        }
    )


def _weighted(recipe: Recipe, pixel_counts: Int64[ndarray, " classes"]) -> Recipe:
    """Return the recipe with the weights of the fit in its loss, 1 on average over the pixels."""
    weights = one_on_average(class_factors(pixel_counts, BALANCE), pixel_counts)
    loss = recipe.loss.model_copy(update={"class_weights": tuple(weights.tolist())})
    return recipe.model_copy(update={"loss": loss})


def _refuse(found: Unreadable) -> None:
    raise UserError(f"{found.image}: {found.reason}")
