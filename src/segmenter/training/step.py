"""One optimizer update: forward, loss, backward, clip, step if all is finite."""

import math
from typing import NamedTuple

import torch
from torch.amp import GradScaler

from segmenter.data.loading import Batch
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.losses import Loss
from segmenter.training.parallel import DistributedModel, to_full_tensor
from segmenter.training.randomness import draw_drop_path_scales, seed_dropout
from segmenter.training.teacher import Teacher


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
    loss: Loss,
    scaler: GradScaler | None = None,
    teacher: Teacher | None = None,
) -> StepResult:
    """Compute the gradients of one batch, in `recipe.accumulate` parts, and update the weights.

    Args:
        model: The model in training.
        optimizer: Optimizer of its weights.
        batch: This process's share of the batch.
        recipe: Gives seed, precision, accumulation and clipping.
        loss: The loss to minimise, without the teacher's.
        scaler: Loss scaler, for float16; if omitted, the loss is not scaled.
        teacher: A trained model to learn from, beside the labels.
    """
    scaler = scaler or GradScaler(enabled=False)
    processes = model.processes
    num_pixels = int(processes.sum(loss.num_pixels(batch.labels)))
    share = 1 / (recipe.accumulate * processes.count)

    dtype = getattr(torch, recipe.precision)
    optimizer.zero_grad(set_to_none=True)
    own_loss = torch.zeros((), device=model.device)
    parts = split_batch(batch, recipe.accumulate)
    for number, (images, labels, positions) in enumerate(parts, start=1):
        images, labels = images.to(model.device), labels.to(model.device)
        seed_dropout(recipe.seed, int(positions[0]))
        scales = draw_drop_path_scales(model.module.drop_rates, recipe.seed, positions)
        scales = None if scales is None else scales.to(model.device)
        teacher_outputs = teacher(images, dtype) if teacher else None
        with model.gradient_exchange(is_on=number == len(parts)):
            student_outputs = model(images, dtype, scales)
            part_loss = loss(student_outputs.logits, labels, num_pixels, share)
            if teacher and teacher_outputs:
                part_loss = part_loss + teacher.loss(student_outputs, teacher_outputs, share)
            # Gradients are averaged over the processes; the batch's are their sum.
            scaler.scale(part_loss * processes.count).backward()
        own_loss += part_loss.detach()

    scaler.unscale_(optimizer)
    grad_norm = _clip_gradients(model.module, recipe.optimizer.clip_grad_norm)
    batch_loss = processes.sum(float(own_loss))
    # Both are equal in all processes, so all of them step, or none.
    is_finite = math.isfinite(batch_loss) and math.isfinite(grad_norm)
    if is_finite:
        optimizer.step()
    scaler.update()
    model.module.decoder.after_step(processes.all_reduce, is_finite=is_finite)
    return StepResult(batch_loss, grad_norm, is_finite)


def _clip_gradients(model: Segmenter, largest: float | None) -> float:
    """Clip the norm of all gradients to `largest`, and return the norm before."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(trained, largest or float("inf"))
    return float(to_full_tensor(norm))


def split_batch(batch: Batch, num_parts: int) -> list[Batch]:
    """Cut a batch into equal parts."""
    parts = zip(*(tensor.chunk(num_parts) for tensor in batch), strict=True)
    return [Batch(*part) for part in parts]
