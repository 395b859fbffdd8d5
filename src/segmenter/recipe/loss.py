"""The loss of a recipe: terms over pixels, or over queries, and distillation."""

from typing import Annotated, Literal

from pydantic import BaseModel, model_validator

from segmenter import numbers
from segmenter.numbers import STRICT, Real, Share, Weight, Whole

ClassWeightRule = Literal["inverse", "inverse-root", "log"]


class OhemRecipe(BaseModel):
    """Online hard example mining: only the hardest pixels count in the loss.

    Give `keep` or `threshold`, not both.
    """

    model_config = STRICT

    keep: Annotated[Real, numbers.SOME_SHARE] | None = None
    """Share of the labelled pixels that count: those with the largest cross entropy."""
    threshold: Annotated[Real, numbers.INNER_SHARE] | None = None
    """Only pixels count whose own class has a probability below this."""
    min_kept: Annotated[Whole, numbers.PIXELS] = 10_000
    """Smallest number of pixels that count: the hardest ones, or all if there are fewer."""

    @model_validator(mode="after")
    def _check(self) -> "OhemRecipe":
        if (self.keep is None) == (self.threshold is None):
            raise ValueError("give keep or threshold, which select the hard pixels, and not both")
        return self


AVERAGE = "average"
"""Name of the teacher that is the moving average of the run's own weights."""


class TeacherRecipe(BaseModel):
    """Learning from a model, beside the labels or without (docs/experiments/distillation.md)."""

    model_config = STRICT

    model: str
    """The teacher: a bundled name, a file, or hf:owner/name, with the classes of the data; or
    `average`, the moving average of the run's own weights (`ema_decay`)."""
    targets: Literal["probabilities", "labels"] = "probabilities"
    """Target that the teacher provides. `probabilities`: a divergence from its class probabilities
    is added to the loss, on all crops. `labels`: its most probable classes are the labels of crops
    from `unlabelled`, and the loss is that of masks."""
    confidence: Share = 0.0
    """Pixels where the teacher's highest class probability is lower are left out."""
    weight: Annotated[Real, numbers.SOME_WEIGHT] = 1.0
    """Weight of the divergence from the teacher's class probabilities."""
    temperature: Annotated[Real, numbers.TEMPERATURE] = 1.0
    """Both models' logits are divided by this; above 1, unlikely classes count more."""
    tokens: Weight = 0.0
    """Weight of the distance between the features of the two models, for a student that was pruned
    from its teacher; 0: they are not compared."""
    unlabelled: str | None = None
    """Folder of images without masks, which only the teacher labels. None: no such images."""
    unlabelled_crops: Annotated[Real, numbers.INNER_SHARE] = 0.25
    """Share of crops taken from the images in `unlabelled`."""
    strong: bool = False
    """The student sees crops from `unlabelled` with strong changes of colour and sharpness, and
    squares cut out; the teacher sees them without."""

    @property
    def is_average(self) -> bool:
        """True if the teacher is the moving average of the run's own weights."""
        return self.model == AVERAGE

    @model_validator(mode="after")
    def _check(self) -> "TeacherRecipe":
        gives_labels = self.targets == "labels"
        if self.unlabelled is None and (gives_labels or self.strong):
            what = "targets: labels" if gives_labels else "strong"
            raise ValueError(
                f"{what} is for images without masks; name their folder as loss.teacher.unlabelled"
            )
        if gives_labels:
            defaults = TeacherRecipe.model_fields
            for name in ("weight", "temperature", "tokens"):
                if getattr(self, name) != defaults[name].default:
                    raise ValueError(
                        f"loss.teacher.{name} belongs to targets: probabilities; with labels, the "
                        "teacher's crops count as those with masks: leave it out"
                    )
        return self


class QueryLossRecipe(BaseModel):
    """The loss of decoders whose queries have a mask and a class each (Mask2Former, EoMT)."""

    model_config = STRICT

    classification: Weight = 2.0
    """Weight of the cross entropy of the queries' classes."""
    mask: Weight = 5.0
    """Weight of the binary cross entropy of the masks."""
    dice: Weight = 5.0
    """Weight of 1 - soft Dice of the masks."""
    no_object: Annotated[Real, numbers.SHARE] = 0.1
    """Weight of queries that no mask is matched with, in the cross entropy of classes."""
    points: Annotated[Whole, numbers.POINTS] = 12_544
    """Points at which each mask is compared; fewer points need less time and memory."""
    oversampling: Annotated[Real, numbers.OVERSAMPLING] = 3.0
    """Points that are drawn to find uncertain ones, as a multiple of `points`."""
    uncertain: Annotated[Real, numbers.SHARE] = 0.75
    """Share of the points that are the most uncertain of those drawn; others are random."""
    ignored_pixels: Literal["excluded", "negative"] = "excluded"
    """`excluded`: ignored pixels count in no mask. `negative`: they are outside of all masks, as in
    Mask2Former and EoMT."""

    @model_validator(mode="after")
    def _check(self) -> "QueryLossRecipe":
        if not (self.classification and (self.mask or self.dice)):
            raise ValueError(
                "queries learn from their classes and masks: classification and one of mask and "
                "dice must be > 0"
            )
        return self


class LossRecipe(BaseModel):
    """A weighted sum of a term over pixels, Dice, Lovász, and distillation from a teacher.

    The term over pixels is the cross entropy, as `class_weights`, `focal` and `ohem` change it; the
    three can be combined. Decoders with queries learn by `queries` instead of these terms.
    """

    model_config = STRICT

    cross_entropy: Weight = 1.0
    """Weight of the term over pixels."""
    average: Literal["labelled", "all"] = "labelled"
    """The term over pixels is a sum, divided by the labelled pixels, or by all (MMSegmentation)."""
    class_weights: Literal["none", ClassWeightRule] | dict[str, Weight] | tuple[Weight, ...] = (
        "none"
    )
    """Weight of the pixels of each class. By a rule, 1 on average over the training pixels:
    `inverse`, 1 / share of the pixels; `inverse-root`, 1 / sqrt(share); `log`, 1 / ln(1.02 +
    share), at most 50 before averaging (ENet, Paszke et al. 2016). Or numbers, used as they are: by
    class name (others weigh 1), or a list in the order of the classes."""
    focal: Annotated[Real, numbers.FOCAL_GAMMA] = 0.0
    """Gamma of the focal loss: each pixel's cross entropy times (1 - p) ** gamma, p being the
    probability of its class; 0: plain cross entropy."""
    ohem: OhemRecipe | None = None
    """Leave out easy pixels. None: all pixels count."""
    dice: Weight = 0.0
    """Weight of 1 - soft Dice."""
    lovasz: Weight = 0.0
    """Weight of the Lovász-softmax loss (1 - IoU made continuous)."""
    queries: QueryLossRecipe = QueryLossRecipe()
    """The loss of decoders with queries (`eomt`, `pmt`), instead of the terms above."""
    teacher: TeacherRecipe | None = None
    """Distillation from a trained model, beside the labels. None: no distillation."""

    @model_validator(mode="after")
    def _check(self) -> "LossRecipe":
        has_divergence = self.teacher and self.teacher.targets == "probabilities"
        if not (self.cross_entropy or self.dice or self.lovasz or has_divergence):
            raise ValueError(
                "nothing is minimised: one of cross_entropy, dice, lovasz must be > 0, or there "
                "must be a teacher whose probabilities are learned"
            )
        given = self.class_weights
        if not isinstance(given, str):
            weights = given.values() if isinstance(given, dict) else given
            if not any(weights):
                raise ValueError("class_weights: at least one class must weigh more than 0")
        return self
