"""A model, the teacher, guides the one in training, also on images that have no masks.

The teacher is a trained model (distillation, Hinton et al. 2015), or the moving average of the
student's own weights (mean teacher, Tarvainen and Valpola 2017). The student learns its class
probabilities, or the labels it is confident of (FixMatch, Sohn et al. 2020).
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from segmenter.checkpoints.digests import digest
from segmenter.checkpoints.open import load
from segmenter.data.loading import Batch
from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.recipe.loss import TeacherRecipe
from segmenter.training.parallel import DistributedModel, Outputs


class Teacher:
    """A model, its labels, and the loss that pulls a student's outputs towards its own.

    Args:
        model: The teacher; its weights are frozen.
        recipe: What is learned from it.
        ignore_index: Label of pixels that are not labelled, in the data of the student.
    """

    def __init__(self, model: Segmenter, recipe: TeacherRecipe, ignore_index: int) -> None:
        self.model = model.eval().requires_grad_(False)
        self.recipe = recipe
        self.ignore_index = ignore_index
        self._forward = DistributedModel(self.model)

    @torch.no_grad()
    def __call__(
        self,
        images: UInt8[Tensor, "batch channels height width"]
        | Float[Tensor, "batch channels height width"],
        dtype: torch.dtype,
    ) -> Outputs:
        """Return the teacher's outputs on crops of 0 to 255; see `DistributedModel`."""
        return self._forward(images, dtype)

    @property
    def gives_labels(self) -> bool:
        """True if the student learns labels from it instead of probabilities."""
        return self.recipe.targets == "labels"

    def label(self, batch: Batch, dtype: torch.dtype, part_size: int) -> Batch:
        """Return a batch in which pixels of images without masks have the teacher's labels.

        Those that the teacher is not confident of have none.

        Args:
            batch: This process's share of the batch.
            dtype: Type of the teacher's matrix products.
            part_size: Crops that are computed at once.
        """
        labels, device = batch.labels.clone(), self.model.mean.device
        is_taught = batch.unlabelled.flatten(1).any(dim=1)
        for crops in is_taught.nonzero().flatten().split(part_size):
            outputs = self(batch.images[crops].to(device), dtype)
            classes = outputs.logits.argmax(dim=1)
            classes[~self._is_confident(outputs)] = self.ignore_index
            labels[crops] = classes.to(labels.device).where(batch.unlabelled[crops], labels[crops])
        return batch._replace(labels=labels)

    def _is_confident(self, outputs: Outputs) -> Bool[Tensor, "batch height width"]:
        """Return where the highest class probability is high enough."""
        return outputs.logits.softmax(dim=1).amax(dim=1) >= self.recipe.confidence

    def loss(
        self, student_outputs: Outputs, teacher_outputs: Outputs, share: float
    ) -> Float[Tensor, ""]:
        """Return the distance of a student's outputs from the teacher's, 0 where they are equal.

        The Kullback-Leibler divergence of the class probabilities, all pixels alike whether they
        have a label or not, at the recipe's temperature and times its square, so that gradients
        are as large at any temperature; 0 where the teacher is not confident. And, where the recipe
        asks for it, the squared distance of the tokens, relative to the variance of the teacher's
        own in each image. The parts of a batch add up to that of the batch.

        Args:
            student_outputs: Outputs of the model in training.
            teacher_outputs: Outputs of the teacher, on the same crops.
            share: Share of the batch that these crops are, in 0 to 1.
        """
        temperature = self.recipe.temperature
        student = F.log_softmax(student_outputs.logits / temperature, dim=1)
        teacher = F.log_softmax(teacher_outputs.logits / temperature, dim=1)
        per_pixel = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
        if self.recipe.confidence:
            per_pixel = per_pixel * self._is_confident(teacher_outputs)
        loss = self.recipe.weight * temperature**2 * per_pixel.mean()
        if self.recipe.tokens:
            tokens = teacher_outputs.tokens.float()
            distances = (student_outputs.tokens.float() - tokens).square().mean(dim=(1, 2))
            variances = tokens.var(dim=(1, 2), correction=0)
            loss = loss + self.recipe.tokens * (distances / variances).mean()
        return share * loss

    @property
    def identity(self) -> dict[str, Any]:
        """Return what may not change when a run is resumed, beside its recipe."""
        weights = sorted(self.model.state_dict().items())
        return {"teacher": digest(weights, {}).weights}


def load_teacher(recipe: TeacherRecipe, student: Segmenter, device: torch.device) -> Teacher:
    """Read the teacher of a run.

    Raises:
        UserError: If it cannot be read, has other classes than the student, or its tokens are to be
            learned but are of another kind.
    """
    model = load(recipe.model, device)
    theirs, ours = (each.spec.classes.names for each in (model, student))
    if theirs != ours:
        raise UserError(
            f"the teacher {recipe.model} has the classes {', '.join(theirs)}, but the data "
            f"have {', '.join(ours)}; give a teacher of the same classes in the same order"
        )
    if model.spec.image != student.spec.image:
        sees, wanted = (each.spec.image or "RGB images of 8 bits" for each in (model, student))
        raise UserError(
            f"the teacher {recipe.model} takes {sees}, but the student {wanted}, or values of "
            "another range; give a teacher of the same images"
        )
    if recipe.tokens:
        made, needed = _token_kind(model), _token_kind(student)
        if made != needed:
            raise UserError(
                f"the teacher {recipe.model} has {made}, but the student {needed}; set "
                "loss.teacher.tokens to 0, or train another student (`segmenter prune` makes one "
                "that fits)"
            )
    return Teacher(model, recipe, student.spec.classes.ignore_index)


def _token_kind(model: Segmenter) -> str:
    """Describe what the tokens of two models must have in common to be compared."""
    encoder = model.spec.encoder
    others = "with" if model.decoder.num_query_blocks else "without"
    return (
        f"tokens of {encoder.embed_dim * len(model.decoder.out_indices)} numbers, for patches of "
        f"{encoder.patch_size} pixels (size_policy: {model.spec.size_policy}), {others} class "
        "tokens among them"
    )
