"""The recipe: everything a training run can be told, typed and strict."""

from segmenter.recipe.run import (
    OptimizerRecipe,
    Recipe,
    ScheduleRecipe,
    TrackerName,
    make_recipe,
    packaged_recipes,
    read_recipe,
)

__all__ = [
    "OptimizerRecipe",
    "Recipe",
    "ScheduleRecipe",
    "TrackerName",
    "make_recipe",
    "packaged_recipes",
    "read_recipe",
]
