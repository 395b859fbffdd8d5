"""Former names of decoder kinds, which model files and recipes of former versions hold."""

from typing import Any

FORMER_KINDS = {"eomt": "joined-class-tokens", "eomt-queries": "eomt"}
"""Former kind -> today's kind. A spec of format 1 has former kinds, one of format 2 today's."""


def upgrade_spec(content: Any) -> Any:
    """Return the content of a spec in today's format, its decoder and its recipe renamed.

    Example:
        upgrade_spec({"format": 1, "decoder": {"kind": "eomt"}})["decoder"]["kind"]
        # "joined-class-tokens"
    """
    if not isinstance(content, dict) or content.get("format") != 1:
        return content
    upgraded = with_todays_kind(content) | {"format": 2}
    recipe = content.get("recipe")
    if isinstance(recipe, dict) and isinstance(recipe.get("model"), dict):
        upgraded["recipe"] = recipe | {"model": with_todays_kind(recipe["model"])}
    return upgraded


def with_todays_kind(section: dict[str, Any]) -> dict[str, Any]:
    """Return a spec, or the `model` of a recipe, whose `decoder` has today's kind.

    Args:
        section: Its `decoder` is a mapping with `kind`, or a kind alone.
    """
    decoder = section.get("decoder")
    if isinstance(decoder, dict):
        kind = decoder.get("kind")
        return section | {"decoder": decoder | {"kind": todays_kind(kind)}}
    return section | {"decoder": todays_kind(decoder)} if isinstance(decoder, str) else section


def todays_kind(kind: Any) -> Any:
    """Return today's name of a former kind; anything else as it is."""
    return FORMER_KINDS.get(kind, kind) if isinstance(kind, str) else kind
