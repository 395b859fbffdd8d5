"""Renamed fields of recipes: files of 0.1.0 still load, and its flags get the new name."""

from collections.abc import Iterable
from typing import Any

from segmenter.errors import UserError
from segmenter.model.former_kinds import FORMER_KINDS, todays_kind
from segmenter.recipe.model import with_kind

_DECODERS = {
    "mask": ("dim", "depth", "qkv_bias", "drop_path", "dropout", "class_norm", "projection_init"),
    "multi-linear": ("blocks",),
    "atm": ("blocks", "dim"),
    "joined-class-tokens": ("blocks", "cells", "masking"),
}
"""Settings of each decoder of 0.1.0, where they were fields of `model`, as `decoder_depth`."""
_OF_CLASS_TOKENS = {*_DECODERS["joined-class-tokens"]}
"""Settings that 0.1.0 rejected for other decoders; it ignored all other unused settings."""
RENAMED = {
    "model.partial": "model.allow_partial_weights",
    "model.fit": "model.size_policy",
    **{
        f"model.{'' if name == 'projection_init' else 'decoder_'}{name}": f"model.decoder.{name}"
        for names in _DECODERS.values()
        for name in names
    },
}
"""Old name -> new name of each field."""
REMOVED = {"model.in_channels": "data.bands says which bands of the images the model sees"}
"""Removed fields, and why."""
_WRITTEN_BY_RUNS = {
    "encoder",
    "encoder_depth",
    "weights",
    "patch_size",
    "position_grid",
    "position_resize",
    "encoder_layer_norm_eps",
    "drop_path",
    "normalization",
}
"""Fields of `model` in every recipe that a run wrote; one written by hand has some of them."""


def refuse_old_names(fields: Iterable[str], source: str) -> None:
    """Reject old names of fields, with the new name in the message.

    Args:
        fields: Names with their sections, such as `model.decoder_blocks`.
        source: Where they are given.

    Raises:
        UserError: If one of them is an old name.
    """
    for field in fields:
        if field in RENAMED:
            raise UserError(f"{source}: {field} is now {RENAMED[field]}")
        if field in REMOVED:
            raise UserError(f"{source}: {field} is gone: {REMOVED[field]}; omit it")


def refuse_old_kind(changes: dict[str, Any], source: str) -> None:
    """Reject a former name of a decoder that is not a kind today, with the new name in the message.

    Args:
        changes: Fields to set, nested as in a recipe.
        source: Where they are given.

    Raises:
        UserError: If `model.decoder` is `eomt-queries`.
    """
    model = changes.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    kind = decoder.get("kind") if isinstance(decoder, dict) else decoder
    if isinstance(kind, str) and kind in FORMER_KINDS.keys() - FORMER_KINDS.values():
        raise UserError(f"{source}: model.decoder {kind} is now {todays_kind(kind)}")


def upgrade(content: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the content of a recipe with today's fields; `source` names the recipe in errors.

    Raises:
        UserError: If it mixes old and new fields, or has a removed one.
    """
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        return content
    is_flat = not isinstance(model.get("decoder"), dict)
    decoder = with_kind(model.get("decoder", {}))
    if not isinstance(decoder, dict):
        return content
    names = [f"model.{name}" for name in model]
    if "model.fit" in names and "model.size_policy" not in names:
        names.remove("model.fit")  # which recipes had beside settings of decoders, too
    if not is_flat or "model.fit" in names or model.get("in_channels", 3) != 3:
        refuse_old_names(names, source)
    decoder = decoder | {"kind": _kind(model, decoder)}
    own = _DECODERS.get(str(decoder["kind"]), ())
    today = {}
    for name, value in model.items():
        section, _, now = RENAMED.get(f"model.{name}", "").rpartition(".")
        if section == "model.decoder":
            if value is not None and (now in own or now in _OF_CLASS_TOKENS):
                decoder[now] = value
        else:
            today[now or name] = value
    today.pop("in_channels", None)
    return content | {"model": today | {"decoder": decoder}}


def _kind(model: dict[str, Any], decoder: dict[str, Any]) -> object:
    """Return today's kind of the decoder of a recipe.

    `eomt` has its former meaning in a recipe with fields of 0.1.0, and in one that a run wrote
    before EoMT had this name: a run writes every setting, and EoMT has `queries`.
    """
    kind = decoder["kind"]
    if kind != "eomt":
        return todays_kind(kind)
    has_old_names = any(f"model.{name}" in RENAMED or f"model.{name}" in REMOVED for name in model)
    is_of_run = model.keys() >= _WRITTEN_BY_RUNS and decoder.keys() >= _OF_CLASS_TOKENS
    is_former = (has_old_names or is_of_run) and "queries" not in decoder
    return todays_kind(kind) if is_former else kind
