"""The recipe of a run, from its name and what is changed in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segmenter.errors import UserError
from segmenter.options import DEFAULT_RECIPE, RunFolder
from segmenter.recipe import Recipe, packaged_recipes, read_recipe
from segmenter.training.numbered_runs import newest_run
from segmenter.training.run_folder import check_run_folder

_NEW_RUN = RunFolder()


def read_run_recipe(
    recipe: str,
    short: Mapping[str, Any],
    fields: Mapping[str, Any],
    run: RunFolder = _NEW_RUN,
) -> Recipe:
    """Read a recipe, change fields of it, and check that its data set is there.

    A run that is resumed has its recipe in its folder: that one is read, unless a YAML file is
    named.

    Args:
        recipe: A packaged recipe's name, or a YAML file.
        short: Fields that have a name of their own, such as `{"data.root": "fields"}`; None leaves
            the recipe's.
        fields: Fields to change, nested as in the file.
        run: Folder of the run, and whether to resume it.

    Raises:
        UserError: If recipe, run or data set do not exist, or the recipe is not valid.
    """
    changes = _changes(short, fields)
    own = _own_recipe(recipe, changes, run) if run.resume else None
    checked = read_recipe(recipe if own is None else str(own), changes)
    _check_code(checked, changes)
    root = Path(checked.data.root)
    if short["data.root"] is None and ":" not in checked.data.root and not root.exists():
        raise UserError(f"no such folder: {root}; name the data set with --data FOLDER")
    return checked


def _check_code(recipe: Recipe, changes: Mapping[str, Any]) -> None:
    """Refuse a recipe file that brings code to run, unless the user names that code, too."""
    custom, augment = recipe.augment.custom, changes.get("augment")
    if custom and not (isinstance(augment, dict) and augment.get("custom") == custom):
        raise UserError(
            f"the recipe runs code of its own, augment.custom {custom}; if you trust it, name it "
            f"yourself: --augment.custom {custom}"
        )


def _own_recipe(recipe: str, changes: Mapping[str, Any], run: RunFolder) -> Path | None:
    """Return the newest recipe in the folder of a run; None if the run is of another recipe.

    Raises:
        UserError: If the folder holds no run to resume.
    """
    if recipe not in packaged_recipes():
        return None
    packaged = read_recipe(recipe).name
    name = str(changes.get("name", packaged))
    folder = run.out or newest_run(name)[0]
    check_run_folder(folder, resume=True)
    path = folder / "recipe.yaml"
    if recipe != DEFAULT_RECIPE and read_recipe(str(path)).name not in (packaged, name):
        return None
    return max(folder.glob("recipe-from-step-*.yaml"), default=path)


def _changes(short: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields to change in the recipe, nested as in its file."""
    given: dict[str, Any] = {"data": {}, "model": {}}
    for key, value in fields.items():
        given[key] = given.get(key, {}) | value if isinstance(value, dict) else value
    for key in ("data", "model"):
        if not isinstance(given[key], dict):
            raise UserError(
                f"--{key} is a section of the recipe; name a field of it, --{key}.FIELD VALUE"
            )
    for name, value in short.items():
        section, field = name.split(".")
        if value is not None:
            given[section][field] = value
    return given
