"""The loss of queries that have a mask and a class each, as in Mask2Former and EoMT.

Each class that an image holds is a target: the mask of its pixels. In every prediction, the final
one and those before masked blocks, targets are matched with queries at the least cost. A matched
query learns the class and the mask of its target, all others learn "no object". Masks are compared
at points, most of them uncertain (Cheng et al., CVPR 2022, section 3.3). Source: `EomtLoss` of
transformers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from segmenter.classes import Classes
from segmenter.recipe.loss import QueryLossRecipe
from segmenter.training.matching import match
from segmenter.training.parallel import Outputs
from segmenter.training.randomness import image_generator

DrawPoints = Callable[[int, int], Float[Tensor, "sets points xy"]]
"""Draws sets of points, evenly over an image: x and y from 0 to 1."""

_WORST_COST = 1e9
"""Cost of a pair whose cost is not finite: it is made only where no other is left."""


class MaskTargets(NamedTuple):
    """Classes and masks that the queries of an image should predict."""

    classes: Int64[Tensor, " targets"]
    """Rows of the decoder's class logits."""
    masks: Float[Tensor, "targets height width"]
    """1 where a pixel is of the class, else 0."""
    counts: Float[Tensor, "1 height width"]
    """1 where a pixel counts, else 0."""


class ImageLoss(NamedTuple):
    """Sums over the queries and masks of an image."""

    classification: Float[Tensor, ""]
    mask: Float[Tensor, ""]
    dice: Float[Tensor, ""]


@dataclass(frozen=True)
class QueryLoss:
    """The loss of a decoder with queries, for the classes of its data.

    The loss of a batch does not depend on how it is split: sums over images are divided by totals
    of the whole batch, and the points of an image are a function of the seed and its position.

    Args:
        recipe: Weights of the terms, and points.
        classes: Classes of the data.
        num_queries: Queries of the decoder.
        seed: Seed of the run.
    """

    recipe: QueryLossRecipe
    classes: Classes
    num_queries: int
    seed: int

    def totals(self, labels: Int[Tensor, "batch height width"]) -> Float64[Tensor, "2"]:
        """Return what the sums of a batch are divided by: its masks, and the weight of queries."""
        num_masks, weight = 0, 0.0
        for image in labels:
            if self._is_counted(image):
                num_targets = len(self._present(image))
                num_matched = min(num_targets, self.num_queries)
                num_masks += num_targets
                weight += num_matched + self.recipe.no_object * (self.num_queries - num_matched)
        return torch.tensor([num_masks, weight], dtype=torch.float64)

    def of_part(
        self,
        outputs: Outputs,
        labels: Int[Tensor, "batch height width"],
        positions: Int64[Tensor, " batch"],
        totals: Float64[Tensor, "2"],
        share: float,  # noqa: ARG002 - every term is a sum
    ) -> Float[Tensor, ""]:
        """Return the loss of a part of a batch; the parts add up to that of the batch.

        Args:
            outputs: Outputs of the model, with its predictions.
            labels: Class indices, or the ignore index.
            positions: Positions of the crops in the stream.
            totals: Result of `totals` for the whole batch.
            share: How much of the batch the part is, in 0 to 1.
        """
        num_masks, weight = (float(total) or 1.0 for total in totals)
        recipe = self.recipe
        found = [self._targets(image) for image in labels]
        draws = [_point_draw(self.seed, int(place), labels.device) for place in positions]
        loss = torch.zeros((), device=labels.device)
        for prediction in outputs.queries:
            classes, masks = (_at_least_float32(each) for each in prediction)
            # Every weight has a gradient, also where there is nothing to learn.
            loss = loss + 0 * (classes.sum() + masks.sum())
            for image in zip(classes.unbind(), masks.unbind(), found, draws, strict=True):
                image_loss = self._image_loss(*image, outputs.image_share)
                loss = loss + recipe.classification / weight * image_loss.classification
                loss = loss + recipe.mask / num_masks * image_loss.mask
                loss = loss + recipe.dice / num_masks * image_loss.dice
        return loss

    def _image_loss(
        self,
        classes: Float[Tensor, "queries classes_and_none"],
        masks: Float[Tensor, "queries rows columns"],
        targets: MaskTargets | None,
        draw: DrawPoints,
        image_share: tuple[float, float],
    ) -> ImageLoss:
        """Match queries with targets, and compare them; all zeros if the image does not count."""
        zero = classes.new_zeros(())
        if targets is None:
            return ImageLoss(zero, zero, zero)
        height_share, width_share = image_share
        scale = masks.new_tensor([width_share, height_share])
        costs = self.matching_costs(classes, masks, targets, draw(1, self.recipe.points), scale)
        queries, chosen = (torch.from_numpy(each).to(masks.device) for each in match(costs))
        wanted = classes.new_full((len(classes),), classes.shape[1] - 1, dtype=torch.int64)
        wanted[queries] = targets.classes[chosen]
        weights = classes.new_ones(classes.shape[1])
        weights[-1] = self.recipe.no_object
        classification = F.cross_entropy(classes, wanted, weights, reduction="sum")
        if not len(queries):
            return ImageLoss(classification, zero, zero)
        matched = masks[queries]
        points = self.uncertain_points(matched.detach(), targets.counts, draw, scale)
        logits = sample(matched, points * scale)
        expected, counts = (
            sample(targets.masks[chosen], points),
            sample(targets.counts, points, "border"),
        )
        return ImageLoss(
            classification,
            mask_cross_entropy(logits, expected, counts).sum(),
            mask_dice(logits, expected, counts).sum(),
        )

    @torch.no_grad()
    def matching_costs(
        self,
        classes: Float[Tensor, "queries classes_and_none"],
        masks: Float[Tensor, "queries rows columns"],
        targets: MaskTargets,
        points: Float[Tensor, "1 points xy"],
        scale: Float[Tensor, " xy"],
    ) -> Float64[np.ndarray, "queries targets"]:
        """Return the cost of each pair: its loss, with minus the probability for classification."""
        recipe = self.recipe
        logits = sample(masks, points * scale)
        expected, counts = sample(targets.masks, points), sample(targets.counts, points, "border")
        costs = -recipe.classification * classes.softmax(dim=-1)[:, targets.classes]
        outside = ((1 - expected) * counts).T
        inside = (expected * counts).T
        cross_entropy = F.softplus(-logits) @ inside + F.softplus(logits) @ outside
        costs = costs + recipe.mask * cross_entropy / counts.sum().clamp(min=1)
        shares = logits.sigmoid()
        sums = (shares * counts).sum(dim=1, keepdim=True) + inside.sum(dim=0)
        costs = costs + recipe.dice * (1 - (2 * shares @ inside + 1) / (sums + 1))
        finite = costs.double().nan_to_num(_WORST_COST, _WORST_COST, _WORST_COST)
        return finite.cpu().numpy()

    @torch.no_grad()
    def uncertain_points(
        self,
        masks: Float[Tensor, "masks rows columns"],
        counts: Float[Tensor, "1 height width"],
        draw: DrawPoints,
        scale: Float[Tensor, " xy"],
    ) -> Float[Tensor, "masks points xy"]:
        """Draw points for each mask, most of them where its logit is nearest to 0."""
        recipe = self.recipe
        drawn = draw(len(masks), int(recipe.points * recipe.oversampling))
        certainty = sample(masks, drawn * scale).abs()
        certainty = certainty.masked_fill(sample(counts, drawn, "border") < 0.5, torch.inf)
        num_uncertain = int(recipe.uncertain * recipe.points)
        places = (-certainty).topk(num_uncertain, dim=1).indices
        chosen = drawn.gather(1, places[:, :, None].expand(-1, -1, 2))
        return torch.cat([chosen, draw(len(masks), recipe.points - num_uncertain)], dim=1)

    def _targets(self, labels: Int[Tensor, "height width"]) -> MaskTargets | None:
        """Return the targets of an image; None if it does not count."""
        if not self._is_counted(labels):
            return None
        present = self._present(labels)
        masks = (labels == present[:, None, None]).float()
        is_ignored = labels == self.classes.ignore_index
        counts = torch.ones_like(labels, dtype=torch.float32)
        if self.recipe.ignored_pixels == "excluded":
            counts = counts.masked_fill(is_ignored, 0)
        return MaskTargets((present - self._first_class).long(), masks, counts[None])

    def _is_counted(self, labels: Int[Tensor, "height width"]) -> bool:
        """Return False for an image without labels, which says nothing about queries."""
        if self.recipe.ignored_pixels == "negative":
            return True
        return bool((labels != self.classes.ignore_index).any())

    def _present(self, labels: Int[Tensor, "height width"]) -> Int[Tensor, " targets"]:
        """Return the labels of an image that are classes of queries, rising."""
        present = labels.unique()
        is_class = (present != self.classes.ignore_index) & (present >= self._first_class)
        return present[is_class]

    @property
    def _first_class(self) -> int:
        """Label of the decoder's first class: queries leave out the background."""
        return int(self.classes.background_index is not None)


def sample(
    maps: Float[Tensor, "maps height width"],
    points: Float[Tensor, "sets points xy"],
    padding: Literal["zeros", "border"] = "zeros",
) -> Float[Tensor, "rows points"]:
    """Interpolate maps bilinearly at points from 0 to 1.

    Args:
        maps: One map, or as many as there are sets of points.
        points: One set for all maps, or one for each map.
        padding: What lies around a map: zeros, or its outermost values.
    """
    grid = 2 * points.to(maps.dtype)[:, :, None] - 1
    if len(maps) == 1:
        grid = grid.flatten(0, 1)[None]
    if len(grid) == 1:
        found = F.grid_sample(maps[None], grid, padding_mode=padding, align_corners=False)
        return found.view(-1, points.shape[1])
    found = F.grid_sample(maps[:, None], grid, padding_mode=padding, align_corners=False)
    return found[:, 0, :, 0]


def mask_cross_entropy(
    logits: Float[Tensor, "masks points"],
    expected: Float[Tensor, "masks points"],
    counts: Float[Tensor, "#masks points"],
) -> Float[Tensor, " masks"]:
    """Return the binary cross entropy of each mask, averaged over the points that count."""
    losses = F.binary_cross_entropy_with_logits(logits, expected, reduction="none")
    return (losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def mask_dice(
    logits: Float[Tensor, "masks points"],
    expected: Float[Tensor, "masks points"],
    counts: Float[Tensor, "#masks points"],
) -> Float[Tensor, " masks"]:
    """Return 1 - soft Dice of each mask over the points that count; 1 is added to both sums."""
    shares = logits.sigmoid()
    overlap = (shares * expected * counts).sum(dim=1)
    sums = (shares * counts).sum(dim=1) + (expected * counts).sum(dim=1)
    return 1 - (2 * overlap + 1) / (sums + 1)


def _point_draw(seed: int, position: int, device: torch.device) -> DrawPoints:
    """Return the draw of points for one image of a run."""
    generator = image_generator(seed, position, device)

    def draw(num_sets: int, num_points: int) -> Float[Tensor, "sets points xy"]:
        return torch.rand(num_sets, num_points, 2, generator=generator, device=device)

    return draw


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
