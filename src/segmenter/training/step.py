"""One optimizer update: loss, gradients, guard, step."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from segmenter.data.loading import Batch
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.randomness import draw_branch_scales, seed_dropout


class StepResult(NamedTuple):
    """What an update did."""

    loss: float
    """Mean cross entropy over the pixels that count."""
    grad_norm: float
    """Norm of all gradients together, before clipping."""
    is_finite: bool
    """False if a number was NaN or infinite: the weights were then left as they were."""


def train_step(
    model: Segmenter, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe
) -> StepResult:
    """Compute the gradients of one batch, in `recipe.accumulate` parts, and update the weights."""
    device = next(model.parameters()).device
    ignore_index = model.spec.classes.ignore_index
    num_pixels = batch.labels.numel()
    if recipe.loss_average == "labelled":
        num_pixels = max(int((batch.labels != ignore_index).sum()), 1)

    optimizer.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=device)
    for images, labels, positions in split_batch(batch, recipe.accumulate):
        seed_dropout(recipe.seed, int(positions[0]))
        scales = draw_branch_scales(model.drop_rates, recipe.seed, positions)
        scales = None if scales is None else scales.to(device)
        part = summed_cross_entropy(
            model, images.to(device), labels.to(device), scales, recipe.precision
        )
        part = part / num_pixels
        part.backward()
        loss += part.detach()

    largest = recipe.optimizer.clip_grad_norm or float("inf")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grad_norm = torch.nn.utils.clip_grad_norm_(trained, largest)
    is_finite = bool(torch.isfinite(loss) & torch.isfinite(grad_norm))
    if is_finite:
        optimizer.step()
    return StepResult(float(loss), float(grad_norm), is_finite)


def summed_cross_entropy(
    model: Segmenter,
    images: Tensor,
    labels: Int[Tensor, "batch height width"],
    branch_scales: Float[Tensor, "branches batch"] | None,
    precision: str,
) -> Float[Tensor, ""]:
    """Cross entropy summed over the labelled pixels; upsampling and loss are always float32."""
    use_bfloat16 = precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=use_bfloat16):
        patch_logits = model.patch_logits(model.normalize(images), branch_scales)
    logits = model.upsample(patch_logits.float(), (images.shape[2], images.shape[3]))
    ignore_index = model.spec.classes.ignore_index
    return F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="sum")


def split_batch(batch: Batch, num_parts: int) -> list[Batch]:
    """Cut a batch into equal parts."""
    parts = zip(*(tensor.chunk(num_parts) for tensor in batch), strict=True)
    return [Batch(*part) for part in parts]
