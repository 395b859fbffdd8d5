"""The recipes that come with the package, as they are listed and printed."""

import re
from pathlib import Path

from segmenter.errors import UserError
from segmenter.files.yaml import nearest

_RENAMED = {"street-eomt": "street-class-tokens"}
"""Former name of a packaged recipe -> its name."""


def packaged_recipes() -> dict[str, Path]:
    """Return the packaged recipes: name -> file."""
    folder = Path(__file__).parents[1] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_hint(name: str) -> str:
    """Say which packaged recipe has another name now, or is meant; an empty text if none is."""
    if name in _RENAMED:
        return f", it is now {_RENAMED[name]!r}"
    return nearest(name, list(packaged_recipes()))


def packaged_recipe_text(name: str) -> str:
    """Return the file of a packaged recipe, with its comments.

    Raises:
        UserError: If no packaged recipe has this name.
    """
    packaged = packaged_recipes()
    if name not in packaged:
        raise UserError(
            f"no packaged recipe {name!r}{recipe_hint(name)}; there are {', '.join(packaged)}"
        )
    return packaged[name].read_text(encoding="utf-8")


def recipe_summary(name: str) -> str:
    """Return the first sentence of a packaged recipe's header, which follows its command."""
    lines = packaged_recipe_text(name).splitlines()
    count = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    header = " ".join(line.removeprefix("#").strip() for line in lines[1:count])
    return re.split(r"(?<=\.)\s", header, maxsplit=1)[0]
