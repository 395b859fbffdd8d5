"""Distillation: a trained model, the teacher, guides the one in training (Hinton et al. 2015).

Teacher and student see the same crops, so a teacher can also label images that have no masks.
"""

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from segmenter.checkpoints.digests import digest
from segmenter.checkpoints.open import load
from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.recipe.loss import TeacherRecipe
from segmenter.training.parallel import DistributedModel, Outputs


class Teacher:
    """A trained model, and the loss that pulls a student's outputs towards its own.

    Args:
        model: The trained model; its weights are frozen.
        recipe: Weights and temperature of the loss.
    """

    def __init__(self, model: Segmenter, recipe: TeacherRecipe) -> None:
        self.model = model.eval().requires_grad_(False)
        self.recipe = recipe
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

    def loss(
        self, student_outputs: Outputs, teacher_outputs: Outputs, share: float
    ) -> Float[Tensor, ""]:
        """Return the distance of a student's outputs from the teacher's, 0 where they are equal.

        The Kullback-Leibler divergence of the class probabilities, all pixels alike whether they
        have a label or not, at the recipe's temperature and times its square, so that gradients
        are as large at any temperature; and, where the recipe asks for it, the squared distance
        of the tokens, relative to the variance of the teacher's own in each image. The parts of a
        batch add up to that of the batch.

        Args:
            student_outputs: Of the model in training.
            teacher_outputs: Of the teacher, on the same crops.
            share: Share of the batch that these crops are, in 0 to 1.
        """
        temperature = self.recipe.temperature
        student = F.log_softmax(student_outputs.logits / temperature, dim=1)
        teacher = F.log_softmax(teacher_outputs.logits / temperature, dim=1)
        per_pixel = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)
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
        UserError: If it cannot be read, knows other classes than the student, or its tokens are to
            be learned and are of another kind.
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
    return Teacher(model, recipe)


def _token_kind(model: Segmenter) -> str:
    """Describe what the tokens of two models must have in common to be compared."""
    encoder = model.spec.encoder
    others = "with" if model.decoder.num_query_blocks else "without"
    return (
        f"tokens of {encoder.embed_dim * len(model.decoder.out_indices)} numbers, for patches of "
        f"{encoder.patch_size} pixels (size_policy: {model.spec.size_policy}), {others} class "
        "tokens among them"
    )
