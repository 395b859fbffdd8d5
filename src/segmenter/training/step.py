"""One optimizer update: forward, loss, backward, clip, step if all is finite."""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor
from torch.amp import GradScaler

from segmenter.data.loading import Batch
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.crop_limit import CropLimit
from segmenter.training.parallel import DistributedModel, Outputs, to_full_tensor
from segmenter.training.randomness import draw_drop_path_scales, draw_uniform, seed_dropout
from segmenter.training.teacher import Teacher


@runtime_checkable
class TrainingLoss(Protocol):
    """A loss of batches that are computed in parts, which add up."""

    def totals(self, labels: Int[Tensor, "batch height width"]) -> Float64[Tensor, " totals"]:
        """Return what the sums over a batch are divided by; those of the processes are added."""
        ...

    def of_part(
        self,
        outputs: Outputs,
        labels: Int[Tensor, "batch height width"],
        positions: Int64[Tensor, " batch"],
        totals: Float64[Tensor, " totals"],
        share: float,
    ) -> Float[Tensor, ""]:
        """Return the loss of a part, a share of the batch that has these totals."""
        ...


class StepResult(NamedTuple):
    """Outcome of an update."""

    loss: float
    """Loss of the whole batch."""
    grad_norm: float
    """Norm of all gradients together, before clipping."""
    is_finite: bool
    """False if loss or gradients were NaN or infinite: the weights were not updated."""


def train_step(
    model: DistributedModel,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    loss: TrainingLoss,
    scaler: GradScaler | None = None,
    teacher: Teacher | None = None,
    limit: CropLimit | None = None,
) -> StepResult:
    """Compute the gradients of one batch, in `recipe.accumulate` parts or more, and update weights.

    Args:
        model: The model in training.
        optimizer: Optimizer of its weights.
        batch: This process's share of the batch.
        recipe: Gives seed, precision, accumulation and clipping.
        loss: The loss to minimise, without the teacher's.
        scaler: Loss scaler, for float16; if omitted, the loss is not scaled.
        teacher: A model to learn from, beside the labels.
        limit: The most crops at once, which falls where they do not fit into memory.

    Raises:
        UserError: If one crop alone does not fit into memory.
    """
    scaler, limit = scaler or GradScaler(enabled=False), limit or CropLimit()
    processes = model.processes
    num_crops = len(batch.images)

    def part_size() -> int:
        return limit.part_size(num_crops, recipe.accumulate)

    if teacher and teacher.gives_labels:
        dtype = getattr(torch, recipe.precision)
        label = functools.partial(teacher.label, batch, dtype)
        batch = limit.fit_alone(lambda: label(part_size()), part_size, model.device)
        limit.agree(processes)
    totals = processes.all_reduce(loss.totals(batch.labels))
    passes = _Passes(model, recipe, loss, totals, scaler, teacher)

    def compute(exchanges: bool) -> Float[Tensor, ""]:
        optimizer.zero_grad(set_to_none=True)
        model.module.decoder.discard_step()
        return passes.run(split_batch(batch, part_size()), exchanges=exchanges)

    own_loss = limit.fit(compute, part_size, model.device, processes, is_sharded=model.is_sharded)
    scaler.unscale_(optimizer)
    grad_norm = _clip_gradients(model.module, recipe.optimizer.clip_grad_norm)
    batch_loss = processes.sum(float(own_loss))
    # Both are equal in all processes, so all of them step, or none.
    is_finite = math.isfinite(batch_loss) and math.isfinite(grad_norm)
    if is_finite:
        limit.update(optimizer.step, model.device)
    scaler.update()
    model.module.decoder.after_step(processes.all_reduce, is_finite=is_finite)
    return StepResult(batch_loss, grad_norm, is_finite)


@dataclass(frozen=True)
class _Passes:
    """The forward and backward passes of a step."""

    model: DistributedModel
    recipe: Recipe
    loss: TrainingLoss
    totals: Float64[Tensor, " totals"]
    """Totals of the batch of all processes, by which the loss is divided."""
    scaler: GradScaler
    teacher: Teacher | None

    def run(self, parts: list[Batch], *, exchanges: bool) -> Float[Tensor, ""]:
        """Add up the gradients of the parts of this process, and return their loss.

        Args:
            parts: This process's share of the batch.
            exchanges: Whether gradients are averaged over the processes with the last part.
        """
        own_loss = torch.zeros((), device=self.model.device)
        num_crops = sum(len(part.images) for part in parts) * self.model.processes.count
        for number, part in enumerate(parts, start=1):
            with self.model.gradient_exchange(is_on=exchanges and number == len(parts)):
                part_loss = self._loss(part, len(part.images) / num_crops)
                # Gradients are averaged over the processes; the batch's are their sum.
                self.scaler.scale(part_loss * self.model.processes.count).backward()
            own_loss += part_loss.detach()
        return own_loss

    def _loss(self, part: Batch, share: float) -> Float[Tensor, ""]:
        """Return the loss of a part, which is a share of the batch."""
        model, recipe = self.model, self.recipe
        dtype = getattr(torch, recipe.precision)
        images, labels = part.strong.to(model.device), part.labels.to(model.device)
        seed_dropout(recipe.seed, int(part.positions[0]))
        scales = draw_drop_path_scales(model.module.drop_rates, recipe.seed, part.positions)
        scales = None if scales is None else scales.to(model.device)
        draw = functools.partial(draw_uniform, recipe.seed, part.positions)
        model.module.decoder.before_pass(draw)
        teacher = None if self.teacher and self.teacher.gives_labels else self.teacher
        wanted = teacher(part.images.to(model.device), dtype) if teacher else None
        outputs = model(images, dtype, scales)
        loss = self.loss.of_part(outputs, labels, part.positions, self.totals, share)
        if teacher and wanted:
            loss = loss + teacher.loss(outputs, wanted, share)
        return loss


def _clip_gradients(model: Segmenter, largest: float | None) -> float:
    """Clip the norm of all gradients to `largest`, and return the norm before."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(trained, largest or float("inf"))
    return float(to_full_tensor(norm))


def split_batch(batch: Batch, part_size: int) -> list[Batch]:
    """Cut a batch into parts of this many crops; the last may be smaller."""
    parts = zip(*(tensor.split(part_size) for tensor in batch), strict=True)
    return [Batch(*part) for part in parts]
