"""The training loss: a sum over pixels, and two overlap terms, Dice and Lovász.

Every term takes any floating type, and computes in float32 at least.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from segmenter.data.class_weights import weights_by_rule
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.recipe.loss import ClassWeightRule, LossRecipe, OhemRecipe
from segmenter.training.parallel import Outputs

_MAX_SORTED_PIXELS = 2**16


class Loss:
    """The loss of a recipe, for the classes of its data.

    Args:
        recipe: Weights of the terms.
        ignore_index: Label of pixels that do not count.
        class_weights: Weight of each class in the term over pixels; None: all alike.
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
        """Return the number by which the sum over the pixels of a batch is divided."""
        if self.recipe.average == "all":
            return labels.numel()
        return int((labels != self.ignore_index).sum())

    def totals(self, labels: Int[Tensor, "batch height width"]) -> Float64[Tensor, "1"]:
        """Return what the sums over a batch are divided by: its pixels."""
        return torch.tensor([self.num_pixels(labels)], dtype=torch.float64)

    def of_part(
        self,
        outputs: Outputs,
        labels: Int[Tensor, "batch height width"],
        positions: Int64[Tensor, " batch"],  # noqa: ARG002 - nothing is drawn
        totals: Float64[Tensor, "1"],
        share: float,
    ) -> Float[Tensor, ""]:
        """Return the loss of a part of a batch, from its outputs."""
        return self(outputs.logits, labels, int(totals[0]), share)

    def __call__(
        self,
        logits: Float[Tensor, "batch classes height width"],
        labels: Int[Tensor, "batch height width"],
        num_pixels: int,
        share: float,
    ) -> Float[Tensor, ""]:
        """Return the loss of a part of a batch; the parts add up to that of the batch.

        The term over pixels is a sum over the part's pixels, divided by those of the whole batch:
        how the batch is cut makes no difference (but for OHEM, which compares the pixels of a
        part). Dice and Lovász are ratios of a part's own pixels; a batch has the mean of its parts.

        Args:
            logits: Logits of the part, at the size of the labels.
            labels: Class indices, or the ignore index.
            num_pixels: Result of `num_pixels` for the whole batch.
            share: How much of the batch the part is, in 0 to 1.
        """
        recipe = self.recipe
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = logits.new_zeros(())
        if recipe.cross_entropy:
            loss = recipe.cross_entropy * self.pixel_losses(logits, labels).sum()
            loss = loss / max(num_pixels, 1)
        if recipe.dice:
            loss = loss + recipe.dice * share * dice_loss(logits, labels, self.ignore_index)
        if recipe.lovasz:
            loss = loss + recipe.lovasz * share * lovasz_softmax(logits, labels, self.ignore_index)
        return loss

    def pixel_losses(
        self,
        logits: Float[Tensor, "batch classes height width"],
        labels: Int[Tensor, "batch height width"],
    ) -> Float[Tensor, "batch height width"]:
        """Cross entropy of each pixel, as focal loss, class weights and OHEM change it.

        Zero where a pixel is ignored, or too easy for OHEM.
        """
        cross_entropy = F.cross_entropy(
            logits, labels, ignore_index=self.ignore_index, reduction="none"
        )
        losses = cross_entropy
        if self.recipe.focal:
            losses = losses * focal_factor(cross_entropy, self.recipe.focal)
        is_labelled = labels != self.ignore_index
        if self.class_weights is not None:
            weights = self.class_weights.to(logits.device, logits.dtype)
            losses = losses * weights[labels.where(is_labelled, 0)]
        if self.recipe.ohem:
            losses = losses * hard_pixels(cross_entropy, is_labelled, self.recipe.ohem)
        return losses


def focal_factor(cross_entropy: Float[Tensor, "*pixels"], gamma: float) -> Float[Tensor, "*pixels"]:
    """(1 - p) ** gamma, which makes cross entropy the focal loss (Lin et al., ICCV 2017).

    Args:
        cross_entropy: -ln p of the class that each pixel has.
        gamma: Strength with which pixels that are already right are weighted down; above 0.
    """
    # Below 1, the power's slope at 0 is infinite: no pixel is taken to be quite that certain.
    wrong = (-torch.expm1(-cross_entropy)).clamp(min=torch.finfo(cross_entropy.dtype).eps)
    return wrong**gamma


@torch.no_grad()
def hard_pixels(
    cross_entropy: Float[Tensor, "*pixels"], is_labelled: Bool[Tensor, "*pixels"], ohem: OhemRecipe
) -> Bool[Tensor, "*pixels"]:
    """Select the pixels that have a loss under OHEM (Shrivastava et al., CVPR 2016).

    Their sum is divided by all labelled pixels, not by those that are hard: so the parts of a batch
    add up. Pixels exactly as hard as the last one kept are kept too.

    Args:
        cross_entropy: -ln p of the class that each pixel has.
        is_labelled: Pixels that are not ignored; no other one is chosen.
        ohem: Which pixels are hard.
    """
    hardness = cross_entropy[is_labelled]
    if ohem.keep is not None:
        num_kept = round(ohem.keep * len(hardness))
    else:
        num_kept = int((hardness > -math.log(ohem.threshold or 1)).sum())
    num_kept = min(max(num_kept, ohem.min_kept), len(hardness))
    if num_kept == 0:
        return is_labelled
    smallest = hardness.kthvalue(len(hardness) - num_kept + 1).values
    return is_labelled & (cross_entropy >= smallest)


def dice_loss(
    logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch height width"],
    ignore_index: int,
) -> Float[Tensor, ""]:
    """1 - soft Dice (Milletari et al., 3DV 2016, without squares), mean over classes.

    The mean is over the classes that the labels hold, all images together: an absent class has no
    overlap to measure.

    Returns:
        From 0 to 1; 0 if no pixel is labelled.
    """
    probabilities, wanted = _labelled_pixels(logits, labels, labels != ignore_index)
    present = wanted.sum(dim=1)
    overlap = (probabilities * wanted).sum(dim=1)
    # A class that is present has at least one pixel, so only absent ones need the lower bound.
    dice = 2 * overlap / (probabilities.sum(dim=1) + present).clamp(min=1)
    is_present = present > 0
    return ((1 - dice) * is_present).sum() / is_present.sum().clamp(min=1)


def lovasz_softmax(
    logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch height width"],
    ignore_index: int,
    max_pixels: int = _MAX_SORTED_PIXELS,
) -> Float[Tensor, ""]:
    """Lovász-softmax (Berman et al., CVPR 2018): 1 - IoU, made continuous, mean over classes.

    The mean is over the classes that the labels hold, all images together. Sorting is expensive, so
    at most `max_pixels` labelled pixels count, evenly spaced.

    Returns:
        From 0 to 1; 0 if no pixel is labelled.
    """
    counts = (labels != ignore_index).flatten().nonzero()[:, 0]
    counts = counts[:: -(-len(counts) // max_pixels) or 1]
    is_counted = torch.zeros(labels.shape, dtype=torch.bool, device=labels.device)
    is_counted.view(-1)[counts] = True
    probabilities, wanted = _labelled_pixels(logits, labels, is_counted)

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


def _labelled_pixels(
    logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch height width"],
    is_counted: Bool[Tensor, "batch height width"],
) -> tuple[Float[Tensor, "classes pixels"], Float[Tensor, "classes pixels"]]:
    """Return probabilities, and 1 for the class that is right, of the pixels that count."""
    num_classes = logits.shape[1]
    scores = logits.movedim(1, -1)[is_counted]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    probabilities = scores.softmax(dim=1).T
    wanted = F.one_hot(labels[is_counted].long(), num_classes).T.to(probabilities.dtype)
    return probabilities, wanted


def class_weights(
    given: Literal["none", ClassWeightRule] | Mapping[str, float] | Sequence[float],
    names: Sequence[str],
    pixel_counts: Int64[ndarray, " classes"],
) -> Float[Tensor, " classes"] | None:
    """Return the weight of each class in the term over pixels; None if all are equal.

    Args:
        given: As `LossRecipe.class_weights` explains it.
        names: Names of the classes, in the order of their indices.
        pixel_counts: Pixels of each class in the training set; a class without any counts as one.

    Raises:
        UserError: If weights are given for other classes, or for more or fewer of them.
    """
    if given == "none":
        return None
    if isinstance(given, Mapping):
        unknown = next((name for name in given if name not in names), None)
        if unknown is not None:
            raise UserError(
                f"loss.class_weights: no class {unknown!r}{nearest(unknown, names)}; there are "
                f"{', '.join(names)}"
            )
        return torch.tensor([float(given.get(name, 1.0)) for name in names])
    if not isinstance(given, str):
        if len(given) != len(names):
            raise UserError(
                f"loss.class_weights has {len(given)} numbers for {len(names)} classes; give one "
                f"for each of {', '.join(names)}"
            )
        return torch.tensor([float(weight) for weight in given])
    return torch.from_numpy(weights_by_rule(given, pixel_counts)).float()
