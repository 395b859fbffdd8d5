"""`segmenter recipes`."""


def recipes(name: str | None = None) -> None:
    """Run `segmenter recipes`.

    Args:
        name: A packaged recipe. [default: list all]
    """
    from segmenter.recipe import packaged_recipes
    from segmenter.recipe.packaged import packaged_recipe_text, recipe_summary

    if name is not None:
        print(packaged_recipe_text(name), end="")
        return
    width = max(map(len, packaged_recipes()))
    for each in packaged_recipes():
        print(f"{each:{width}}  {recipe_summary(each)}")
