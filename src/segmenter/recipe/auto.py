"""Fields of a recipe that may be `auto`: they are chosen from the data before the first step."""

from collections.abc import Mapping
from typing import Any, Literal

GivenAuto = str | dict[str, Any]
"""`auto`; for a decoder also with settings, such as `{"kind": "auto", "masking": False}`."""
AutoField = Literal[
    "model.decoder",
    "augment.crop_size",
    "augment.scale_base",
    "protocol.short_side",
    "protocol.window",
    "protocol.stride",
]
STAND_INS: dict[AutoField, str | int | None] = {
    "model.decoder": "linear",
    "augment.crop_size": 560,
    "augment.scale_base": 560,
    "protocol.short_side": 560,
    "protocol.window": None,
    "protocol.stride": None,
}
"""Value of each field until it is chosen."""
_AUTO = "auto"


def take_autos(content: Any) -> Any:
    """Return the content of a recipe with its `auto` fields listed under the key `auto`.

    Each of them holds its stand-in, so that a recipe has numbers wherever it has numbers.

    Raises:
        ValueError: If the content has that key itself.
    """
    if not isinstance(content, dict):
        return content
    if "auto" in content:
        raise ValueError(
            "auto is not a field to set; a size is chosen from the data if its own field is auto, "
            "as in --augment.crop_size auto"
        )
    found: dict[AutoField, GivenAuto] = {
        each: given for each in STAND_INS if (given := _given_auto(content, each)) is not None
    }
    if not found:
        return content
    stand_ins: dict[str, Any] = {field: STAND_INS[field] for field in found}
    # A window needs a stride, and a stride a window.
    if "protocol.stride" not in found and "protocol.window" in found:
        stand_ins["protocol.window"] = _value(content, "protocol.stride")
    if "protocol.window" not in found and "protocol.stride" in found:
        stand_ins["protocol.stride"] = _value(content, "protocol.window")
    return with_fields(content, stand_ins) | {"auto": found}


def with_fields(content: dict[str, Any], values: dict[Any, Any]) -> dict[str, Any]:
    """Return the content of a recipe with fields of its sections set, by `section.field`."""
    changed = dict(content)
    for field, value in values.items():
        section, name = field.split(".")
        changed[section] = {**changed.get(section, {}), name: value}
    return changed


def chosen_decoder(autos: Mapping[AutoField, GivenAuto], decoder: dict[str, Any]) -> dict[str, Any]:
    """Return the decoder that is chosen for an `auto` one, with the settings given beside `auto`.

    Args:
        autos: `Recipe.auto`, with `model.decoder` among its fields.
        decoder: Kind and settings of the chosen decoder.

    Example:
        chosen_decoder({"model.decoder": {"kind": "auto", "masking": False}}, {"kind": "eomt"})
        # {"kind": "eomt", "masking": False}
    """
    given = autos["model.decoder"]
    settings = given if isinstance(given, dict) else {}
    return decoder | settings | {"kind": decoder["kind"]}


def _given_auto(content: dict[str, Any], field: AutoField) -> GivenAuto | None:
    """Return `auto`, with the settings of a decoder that stand beside it; None: it is a value."""
    value = _value(content, field)
    if field == "model.decoder" and isinstance(value, dict) and value.get("kind") == _AUTO:
        return value if len(value) > 1 else _AUTO
    return _AUTO if value == _AUTO else None


def _value(content: dict[str, Any], field: str) -> Any:
    section, name = field.split(".")
    inside = content.get(section)
    return inside.get(name) if isinstance(inside, dict) else None
