"""The recipe: every setting of a training run, typed and strict."""

from segmenter.recipe.augmentation import AugmentRecipe, ColorJitter
from segmenter.recipe.optimization import OptimizerRecipe, ScheduleRecipe
from segmenter.recipe.packaged import packaged_recipes
from segmenter.recipe.recipe_file import make_recipe, read_recipe
from segmenter.recipe.run import Recipe, TrackerName

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
