"""Read a recipe from its file, and change single fields of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segmenter.errors import UserError
from segmenter.files.yaml import first_place, first_problem, read_yaml
from segmenter.model.protocol import with_symmetry
from segmenter.recipe.augmentation import with_preset
from segmenter.recipe.packaged import packaged_recipes, recipe_hint
from segmenter.recipe.renamed import refuse_old_kind, refuse_old_names, upgrade
from segmenter.recipe.run import Recipe


def read_recipe(name_or_path: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe by packaged name or path, and change single fields of it.

    Args:
        name_or_path: A name of `packaged_recipes`, or a YAML file.
        changes: Fields to set, nested as in the file, such as `{"schedule": {"steps": 100}}`.

    Raises:
        UserError: If the recipe does not exist, or is not valid.
    """
    packaged = packaged_recipes()
    path = packaged.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(
            f"no recipe {name_or_path!r}{recipe_hint(name_or_path)}: neither a file "
            f"nor one of {', '.join(packaged)}"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a recipe: it holds no `key: value` lines")
    changed = list(_names(changes or {}))
    named = f"recipe {name_or_path}" if name_or_path in packaged else str(path)
    source = f"{named}, with {', '.join(changed)} changed" if changed else named
    refuse_old_names(changed, source)
    refuse_old_kind(changes or {}, source)
    return _checked(_merge(upgrade(content, source), _plain(changes or {})), source, changed)


def make_recipe(content: dict[str, Any], source: str) -> Recipe:
    """Check the fields of a recipe; those of former versions get today's names.

    Args:
        content: The fields, nested as in a file.
        source: Says in errors where they come from.

    Raises:
        UserError: If a key is unknown, a value impossible, or two contradict.
    """
    return _checked(upgrade(content, source), source)


def _checked(content: dict[str, Any], source: str, changed: Sequence[str] = ()) -> Recipe:
    """Check the fields of a recipe; a mistake in one that is `changed` is said before its source.

    Raises:
        UserError: If a key is unknown, a value impossible, or two contradict.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        problem, place = first_problem(error, Recipe), first_place(error, Recipe)
        if any(_are_related(field, place) for field in changed):
            raise UserError(f"{problem} ({source})") from None
        raise UserError(f"{source}: {problem}") from None


def _are_related(field: str, place: str) -> bool:
    """Return whether a mistake at a place, empty for the whole recipe, may be that of a field."""
    return not place or f"{field}.".startswith(f"{place}.") or place.startswith(f"{field}.")


def _names(changes: dict[str, Any], section: str = "") -> Iterator[str]:
    """Yield the fields that are set, such as `schedule.steps`."""
    for key, value in changes.items():
        field = section + key.replace("-", "_")
        if isinstance(value, dict):
            yield from _names(value, f"{field}.")
        else:
            yield field


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with the fields of named sets: they win over those of the file."""
    named = {"augment": with_preset, "protocol": with_symmetry}
    expanded = {}
    for section, expand in named.items():
        if isinstance(given := changes.get(section), dict):
            fields = {key.replace("-", "_"): value for key, value in given.items()}
            try:
                expanded[section] = expand(fields)
            except ValueError as error:
                raise UserError(f"{section}: {error}") from None
    return changes | expanded


def _merge(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set fields given on the command line; the check of the recipe finds unknown ones."""
    merged = dict(content)
    for key, value in changes.items():
        field = key.replace("-", "_")
        before = merged.get(field)
        if isinstance(before, dict) and "kind" in before and isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, dict):
            kept = before if isinstance(before, dict) else {}
            if value.get("kind", kept.get("kind")) != kept.get("kind"):
                kept = {}  # another decoder has other settings
            merged[field] = _merge(kept, value)
        else:
            merged[field] = value
    return merged
