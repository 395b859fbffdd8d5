"""One optimizer update: loss, gradients, guard, step."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from segmenter.data.loading import Batch
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.losses import Loss
from segmenter.training.randomness import draw_branch_scales, seed_dropout


class StepResult(NamedTuple):
    """What an update did."""

    loss: float
    """What the recipe minimises, of the whole batch."""
    grad_norm: float
    """Norm of all gradients together, before clipping."""
    is_finite: bool
    """False if a number was NaN or infinite: the weights were then left as they were."""


def train_step(
    model: Segmenter, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe, loss: Loss
) -> StepResult:
    """Compute the gradients of one batch, in `recipe.accumulate` parts, and update the weights."""
    device = next(model.parameters()).device
    num_pixels = loss.num_pixels(batch.labels)

    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    for images, labels, positions in split_batch(batch, recipe.accumulate):
        seed_dropout(recipe.seed, int(positions[0]))
        scales = draw_branch_scales(model.drop_rates, recipe.seed, positions)
        scales = None if scales is None else scales.to(device)
        logits = training_logits(model, images.to(device), scales, recipe.precision)
        part = loss(logits, labels.to(device), num_pixels, 1 / recipe.accumulate)
        part.backward()
        total += part.detach()

    largest = recipe.optimizer.clip_grad_norm or float("inf")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grad_norm = torch.nn.utils.clip_grad_norm_(trained, largest)
    is_finite = bool(torch.isfinite(total) & torch.isfinite(grad_norm))
    if is_finite:
        optimizer.step()
    return StepResult(float(total), float(grad_norm), is_finite)


def training_logits(
    model: Segmenter,
    images: Tensor,
    branch_scales: Float[Tensor, "branches batch"] | None,
    precision: str,
) -> Float[Tensor, "batch classes height width"]:
    """Logits at the size of the crops; upsampling, and the loss after it, are always float32."""
    use_bfloat16 = precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=use_bfloat16):
        patch_logits = model.patch_logits(model.normalize(images), branch_scales)
    return model.upsample(patch_logits.float(), (images.shape[2], images.shape[3]))


def split_batch(batch: Batch, num_parts: int) -> list[Batch]:
    """Cut a batch into equal parts."""
    parts = zip(*(tensor.chunk(num_parts) for tensor in batch), strict=True)
    return [Batch(*part) for part in parts]
