"""Distillation: a trained model shows what the one in training should answer (Hinton et al. 2015).

Teacher and student see the same crops, so a teacher can also speak of photos that have no labels.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segmenter.checkpoints.bundled import load
from segmenter.checkpoints.own import hash_tensors
from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.loss_recipe import TeacherRecipe
from segmenter.model.segmenter import Segmenter


class Teacher:
    """A trained model, and how much its answers count.

    Args:
        model: The trained model; it stays as it is.
        recipe: What it is asked for.
    """

    def __init__(self, model: Segmenter, recipe: TeacherRecipe) -> None:
        self.model = model.eval().requires_grad_(False)
        self.recipe = recipe

    def loss(
        self,
        logits: Float[Tensor, "batch classes height width"],
        wanted: Float[Tensor, "batch classes height width"],
        share: float,
    ) -> Float[Tensor, ""]:
        """How far a student's answers are from the teacher's, 0 where they are the same.

        The Kullback-Leibler divergence of the class probabilities, all pixels alike whether they
        have a label or not, at the recipe's temperature and times its square, so that gradients
        are as large at any temperature. The parts of a batch add up to that of the batch.

        Args:
            logits: Of the student.
            wanted: Those of the teacher.
            share: How much of the batch this part is, in 0 to 1.
        """
        temperature = self.recipe.temperature
        known = F.log_softmax(logits.float() / temperature, dim=1)
        right = F.log_softmax(wanted / temperature, dim=1)
        per_pixel = F.kl_div(known, right, reduction="none", log_target=True).sum(dim=1)
        return self.recipe.weight * share * temperature**2 * per_pixel.mean()

    @property
    def identity(self) -> dict[str, Any]:
        """What may not change when a run is resumed, beside its recipe."""
        return {"teacher": hash_tensors(self.model.state_dict())}


def load_teacher(recipe: TeacherRecipe, classes: Classes, device: torch.device) -> Teacher:
    """Read the teacher of a run.

    Raises:
        UserError: If it cannot be read, or knows other classes than the data have.
    """
    model = load(recipe.model, device)
    theirs = model.spec.classes
    if theirs.names != classes.names:
        raise UserError(
            f"the teacher {recipe.model} knows the classes {', '.join(theirs.names)}, but the data "
            f"have {', '.join(classes.names)}; a teacher must know the same ones in the same order"
        )
    return Teacher(model, recipe)
