"""What a new model takes from given weights, and the exact account of what it does not."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from segmenter.checkpoints.model_file import check_fit
from segmenter.errors import UserError

_BLOCK = re.compile(r"^(?:encoder\.)?blocks\.(\d+)\.")
_HINT = (
    "; `--partial` (recipe: model.allow_partial_weights) takes what fits, and says what starts "
    "fresh and what is left unused"
)


def choose(
    wanted: dict[str, Tensor], given: dict[str, Tensor], source: str, *, partial: bool
) -> dict[str, Tensor]:
    """The tensors of an encoder that are taken over.

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
    """Say in one line how many tensors were taken, and name every other one of either side."""
    fresh = [name for name in wanted if name not in kept]
    unused = [name for name in given if name not in kept]
    said = f"starting from {source}: {len(kept)} tensors kept"
    if fresh:
        said += f"; {len(fresh)} start fresh: {', '.join(fresh)}"
    if unused:
        said += f"; {len(unused)} of {source} are left unused: {', '.join(unused)}"
    return said


def _block(name: str) -> int:
    """The number of the encoder block that a tensor belongs to; -1 outside of blocks."""
    found = _BLOCK.match(name)
    return int(found[1]) if found else -1
