"""Split a folder into the images that a recipe trains on and those that it holds out."""

from segmenter.data.folder import Item, LabelledFolder, hold_out
from segmenter.errors import UserError
from segmenter.recipe import Recipe


def training_items(
    recipe: Recipe, data: LabelledFolder
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return the images to train on, and those to score on during training (none if not wanted).

    A folder without split folders, or without the `val` split, has a share of its training
    images held out instead.
    """
    wanted = recipe.data.train if set(recipe.data.train) <= set(data.splits) else None
    if wanted is None and set(data.splits) == {"all"}:
        wanted = ("all",)
    try:
        train = data.items(*(wanted or recipe.data.train))
    except UserError as error:
        known = ",".join(sorted(data.splits))
        raise UserError(
            f"{error}; name those to train on, as in --data.train '[{known}]'"
        ) from None
    if recipe.data.val is None:
        return train, ()
    if recipe.data.val == "val" and "val" not in data.splits:
        return hold_out(train, recipe.data.hold_out)
    return train, data.items(recipe.data.val)
