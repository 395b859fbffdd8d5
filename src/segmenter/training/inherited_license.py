"""The licence that a run inherits from the weights it starts from, and from its teacher."""

from collections.abc import Mapping

from segmenter.checkpoints.license import join_licenses, license_of, terms_of_use
from segmenter.recipe import Recipe


def inherited_licenses(recipe: Recipe, start: str) -> dict[str, str]:
    """Return the licence of each model that a run learns from, by its name in the recipe.

    Args:
        recipe: The run.
        start: Licence of what `recipe.model.weights` names.

    Raises:
        UserError: If the teacher cannot be found or read.
    """
    found: dict[str, str] = {}
    weights, teacher = recipe.model.weights, recipe.loss.teacher
    if weights is not None:
        found[weights] = start
    if teacher is not None and not teacher.is_average:
        found[teacher.model] = license_of(teacher.model)
    return found


def with_inherited_license(recipe: Recipe, licenses: Mapping[str, str]) -> Recipe:
    """Return the recipe with what its model inherits added to its licence."""
    license = join_licenses([recipe.license, *licenses.values()])
    return recipe.model_copy(update={"license": license})


def inherited_terms(recipe: Recipe, licenses: Mapping[str, str]) -> str | None:
    """Return the line on the terms that the model of a run inherits; None if there are none.

    Example:
        `licence: this run starts from 'street', so its model is under these terms: Non-commercial
        use only.`
    """
    found = {name: each for name, each in licenses.items() if terms_of_use(each)}
    terms = terms_of_use(join_licenses(found.values()))
    names = " and ".join(map(repr, found))
    start = "starts" if recipe.model.weights in found else "learns"
    return (
        terms
        and f"licence: this run {start} from {names}, so its model is under these terms: {terms}"
    )
