"""Load the weights that fit a new model, and account exactly for the rest."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from segmenter.checkpoints.model_file import check_fit
from segmenter.errors import UserError

_BLOCK = re.compile(r"^(?:encoder\.)?blocks\.(\d+)\.")
_MAX_PARTS = 6
"""Parts of a model that are named; of more, their number is."""
_IN_BLOCK = re.compile(r"(?:.*\.)?blocks\.\d+(?=\.)")
_LAST_WORD = re.compile(r"(?<=.)\.(weight|bias)$")
_HINT = (
    "; `--partial` (recipe: model.allow_partial_weights) takes what fits, and says what starts "
    "fresh and what is left unused"
)


def choose(
    wanted: dict[str, Tensor], given: dict[str, Tensor], source: str, *, partial: bool
) -> dict[str, Tensor]:
    """Return the tensors of an encoder that are loaded.

    Args:
        wanted: The encoder's own.
        given: What it may take; blocks beyond its last one are never taken.
        source: What to call `given`.
        partial: Take what fits by name and shape, where else everything has to.

    Raises:
        UserError: If something does not fit, naming all of it; with `partial`, if nothing fits;
            or if a taken tensor is not finite.
    """
    last = max(map(_block, wanted), default=-1)
    kept = {name: tensor for name, tensor in given.items() if _block(name) <= last}
    if partial:
        kept = {
            name: tensor
            for name, tensor in kept.items()
            if name in wanted and wanted[name].shape == tensor.shape
        }
        if not kept:
            raise UserError(
                f"nothing in {source} fits the encoder by name and shape; start without it, or "
                "choose an encoder of the same width"
            )
        wanted = {name: wanted[name] for name in kept}
    check_fit(wanted, kept, source, hint=_HINT)
    return kept


def account(
    source: str, wanted: Mapping[str, Tensor], kept: Mapping[str, Tensor], given: Iterable[str]
) -> str:
    """Say in one line how many tensors were taken, and which others there are on either side.

    A part of the model is named once, such as `encoder.blocks.6-11.*` for all its tensors there.
    """
    fresh = [name for name in wanted if name not in kept]
    unused = [name for name in given if name not in kept]
    said = f"starting from {source}: {len(kept)} tensors kept"
    if fresh:
        said += f"; {len(fresh)} start fresh: {_parts(fresh)}"
    if unused:
        said += f"; {len(unused)} of {source} are left unused: {_parts(unused)}"
    return said


def _parts(names: Sequence[str]) -> str:
    """Return the parts of a model that tensors belong to; neighbouring blocks are one part."""
    parts: list[_Part] = []
    for name, members in _grouped(names).items():
        stem, _, number = name.rpartition(".")
        last = int(number) if number.isdecimal() else None
        if parts and last is not None and (parts[-1].stem, parts[-1].last) == (stem, last - 1):
            parts[-1] = parts[-1]._replace(last=last, only=None)
        else:
            only = members[0] if len(members) == 1 else None
            parts.append(_Part(stem if last is not None else name, last, last, only))
    named = ", ".join(map(str, parts[:_MAX_PARTS]))
    more = len(parts) - _MAX_PARTS
    return named + (f" and {more} more" if more > 0 else "")


def _grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """Return tensors by the block or layer that they belong to."""
    groups: dict[str, list[str]] = {}
    for name in names:
        block = _IN_BLOCK.match(name)
        part = block[0] if block else _LAST_WORD.sub("", name)
        groups.setdefault(part, []).append(name)
    return groups


class _Part(NamedTuple):
    """Tensors of one layer, or of numbered ones that follow each other."""

    stem: str
    first: int | None
    last: int | None
    only: str | None
    """The tensor, where it is the only one."""

    def __str__(self) -> str:
        if self.only:
            return self.only
        if self.first is None:
            return f"{self.stem}.*"
        numbers = f"{self.first}-{self.last}" if self.last != self.first else f"{self.first}"
        return f"{self.stem}.{numbers}.*"


def _block(name: str) -> int:
    """Return the number of the encoder block that a tensor belongs to; -1 outside of blocks."""
    found = _BLOCK.match(name)
    return int(found[1]) if found else -1
