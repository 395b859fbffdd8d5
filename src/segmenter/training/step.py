"""One optimizer update: loss, gradients, guard, step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.amp import GradScaler

from segmenter.data.loading import Batch
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.losses import Loss
from segmenter.training.parallel import Answers, ForwardPass, exchange_gradients, full
from segmenter.training.processes import SINGLE_PROCESS, Processes
from segmenter.training.randomness import draw_drop_path_scales, seed_dropout
from segmenter.training.teacher import Teacher


@dataclass(frozen=True)
class Engine:
    """What runs the model: on one process or several, whole or shared out."""

    network: nn.Module
    """`ForwardPass`, or DDP around it."""
    processes: Processes = SINGLE_PROCESS
    scaler: GradScaler = field(default_factory=lambda: GradScaler("cpu", enabled=False))
    """Of the loss, for float16; disabled, it changes nothing."""
    teacher: Teacher | None = None
    """A trained model to learn from, beside the labels."""


class StepResult(NamedTuple):
    """What an update did."""

    loss: float
    """What the recipe minimises, of the whole batch."""
    grad_norm: float
    """Norm of all gradients together, before clipping."""
    is_finite: bool
    """False if a number was NaN or infinite: the weights were then left as they were."""


def train_step(
    model: Segmenter,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    loss: Loss,
    engine: Engine | None = None,
) -> StepResult:
    """Compute the gradients of one batch, in `recipe.accumulate` parts, and update the weights.

    Args:
        model: What is trained.
        optimizer: Of its weights.
        batch: This process's share of the batch.
        recipe: The run.
        loss: What is minimised.
        engine: What runs the model; none: this process alone.
    """
    engine = engine or Engine(ForwardPass(model))
    processes, scaler, teacher = engine.processes, engine.scaler, engine.teacher
    device = next(model.parameters()).device
    num_parts = recipe.accumulate * processes.count
    num_pixels = int(processes.sum(loss.num_pixels(batch.labels))[0])

    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    parts = split_batch(batch, recipe.accumulate)
    for number, (images, labels, positions) in enumerate(parts, start=1):
        seed_dropout(recipe.seed, int(positions[0]))
        scales = draw_drop_path_scales(model.drop_rates, recipe.seed, positions)
        scales = None if scales is None else scales.to(device)
        images = images.to(device)
        wanted = None
        if teacher:
            ask = teacher.network
            with torch.no_grad():
                wanted = training_answers(teacher.model, ask, images, None, recipe.precision)
        with exchange_gradients(engine.network, is_last=number == len(parts)):
            given = training_answers(model, engine.network, images, scales, recipe.precision)
            part = loss(given.logits, labels.to(device), num_pixels, 1 / num_parts)
            if teacher and wanted is not None:
                part = part + teacher.loss(given, wanted, 1 / num_parts)
            # Gradients are averaged over the processes; the batch's are their sum.
            scaler.scale(part * processes.count).backward()
        total += part.detach()

    scaler.unscale_(optimizer)
    largest = recipe.optimizer.clip_grad_norm or float("inf")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grad_norm = float(full(torch.nn.utils.clip_grad_norm_(trained, largest)))
    batch_loss = processes.sum(float(total))[0]
    # Both are the same in all processes, and so is what follows.
    is_finite = math.isfinite(batch_loss) and math.isfinite(grad_norm)
    if is_finite:
        optimizer.step()
    scaler.update()
    model.decoder.after_step(processes.all_reduce, is_finite=is_finite)
    return StepResult(batch_loss, grad_norm, is_finite)


def training_answers(
    model: Segmenter,
    network: Callable[[Tensor, Tensor | None], Answers],
    images: Tensor,
    drop_path_scales: Float[Tensor, "branches batch"] | None,
    precision: str,
) -> Answers:
    """Tokens, and logits at the size of the crops; upsampling, and losses, are always float32."""
    dtype = getattr(torch, precision)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        found = network(model.normalize(images), drop_path_scales)
    size = (images.shape[2], images.shape[3])
    return Answers(model.upsample(found.logits.float(), size), found.tokens)


def split_batch(batch: Batch, num_parts: int) -> list[Batch]:
    """Cut a batch into equal parts."""
    parts = zip(*(tensor.chunk(num_parts) for tensor in batch), strict=True)
    return [Batch(*part) for part in parts]
