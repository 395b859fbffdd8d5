"""What training minimises: cross entropy over pixels, and the Lovász surrogate of IoU beside it."""

import torch
from jaxtyping import Float, Int, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from segmenter.recipe import LossRecipe

_MAX_SORTED_PIXELS = 2**16


class Loss:
    """The loss of a recipe, with what it needs to know of the classes.

    Args:
        recipe: Which terms, and how much of each.
        ignore_index: Label of pixels that do not count.
        class_weights: Weight of each class in the cross entropy; none: all alike.
    """

    def __init__(
        self,
        recipe: LossRecipe,
        ignore_index: int,
        class_weights: Float[Tensor, " classes"] | None = None,
    ) -> None:
        self.recipe = recipe
        self.ignore_index = ignore_index
        self.class_weights = class_weights

    def num_pixels(self, labels: Int[Tensor, "batch height width"]) -> int:
        """By how many pixels the cross entropy of a batch is divided."""
        if self.recipe.average == "all":
            return labels.numel()
        return max(int((labels != self.ignore_index).sum()), 1)

    def __call__(
        self,
        logits: Float[Tensor, "batch classes height width"],
        labels: Int[Tensor, "batch height width"],
        num_pixels: int,
        share: float,
    ) -> Float[Tensor, ""]:
        """The loss of a part of a batch; the parts add up to that of the batch.

        Args:
            logits: Of the part, at the size of the labels.
            labels: Class indices, or the ignore index.
            num_pixels: Of the whole batch, from `num_pixels`.
            share: How much of the batch the part is, in 0 to 1.
        """
        weights = self.class_weights
        loss = F.cross_entropy(
            logits,
            labels,
            weight=None if weights is None else weights.to(logits.device),
            ignore_index=self.ignore_index,
            reduction="sum",
        )
        loss = loss / num_pixels
        if self.recipe.lovasz:
            lovasz = lovasz_softmax(logits, labels, self.ignore_index)
            loss = loss + self.recipe.lovasz * share * lovasz
        return loss


def lovasz_softmax(
    logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch height width"],
    ignore_index: int,
    max_pixels: int = _MAX_SORTED_PIXELS,
) -> Float[Tensor, ""]:
    """Lovász-softmax (Berman et al., CVPR 2018): 1 - IoU, made continuous, mean over classes.

    Over the classes that the batch holds, all photos together. Sorting is its cost, so at most
    `max_pixels` labelled pixels count, evenly spaced.

    Returns:
        In 0 to 1; 0 where no pixel is labelled.
    """
    counts = (labels != ignore_index).flatten().nonzero()[:, 0]
    counts = counts[:: -(-len(counts) // max_pixels) or 1]
    num_classes = logits.shape[1]
    scores = logits.movedim(1, -1).reshape(-1, num_classes)[counts]
    probabilities = scores.float().softmax(dim=1).T
    wanted = F.one_hot(labels.flatten()[counts], num_classes).T.to(probabilities.dtype)

    errors, order = (wanted - probabilities).abs().sort(dim=1, descending=True)
    sorted_wanted = wanted.gather(1, order)
    present = wanted.sum(dim=1, keepdim=True)
    intersection = present - sorted_wanted.cumsum(dim=1)
    union = present + (1 - sorted_wanted).cumsum(dim=1)
    jaccard_loss = 1 - intersection / union
    gradient = jaccard_loss.diff(dim=1, prepend=torch.zeros_like(present))
    per_class = (errors * gradient).sum(dim=1)
    is_present = present[:, 0] > 0
    return (per_class * is_present).sum() / is_present.sum().clamp(min=1)


def class_weights(
    rule: str, pixel_counts: Int64[ndarray, " classes"]
) -> Float[Tensor, " classes"] | None:
    """Weights that make rare classes count more, 1 on average over the training pixels.

    Args:
        rule: `inverse`: 1 / share of the pixels. `inverse-root`: 1 / sqrt(share). `log`:
            1 / ln(1.02 + share), at most 50 before averaging (ENet, Paszke et al. 2016). `none`.
        pixel_counts: Of each class in the training set; a class without pixels counts as one.
    """
    if rule == "none":
        return None
    counts = torch.from_numpy(pixel_counts).double().clamp(min=1)
    shares = counts / counts.sum()
    weights = {
        "inverse": lambda: 1 / shares,
        "inverse-root": lambda: shares.rsqrt(),
        "log": lambda: 1 / (1.02 + shares).log(),
    }[rule]()
    return (weights / (weights * shares).sum()).float()
