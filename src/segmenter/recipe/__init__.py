"""The recipe: everything a training run can be told, typed and strict."""

from segmenter.recipe.run import (
    AugmentRecipe,
    ColorJitter,
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    TrackerName,
    make_recipe,
    packaged_recipes,
    read_recipe,
)

__all__ = [
    "AugmentRecipe",
    "ColorJitter",
    "OptimizerRecipe",
    "Recipe",
    "ScheduleRecipe",
    "TrackerName",
    "make_recipe",
    "packaged_recipes",
    "read_recipe",
]
