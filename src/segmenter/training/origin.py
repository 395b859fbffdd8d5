"""Facts of the weights that a run starts from, kept in its checkpoints: it resumes without them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from segmenter.model import ModelSpec
from segmenter.training.checkpoint import newest_facts

_KEY = "origin"
_Magnitude = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Origin:
    """Facts of the starting weights that a run needs when its checkpoint holds its own weights."""

    spec: ModelSpec | None
    """Spec of the model that the run starts from; None for an encoder, or no weights at all."""
    license: str
    """Licence of the starting weights."""
    magnitudes: Annotated[dict[str, _Magnitude], Field(min_length=1)]
    """Root mean square of each parameter before the first step; see `optimizer.relative_lr`."""

    def to_facts(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON."""
        return {_KEY: _ADAPTER.dump_python(self, mode="json")}


_ADAPTER = TypeAdapter(Origin)


def read_origin(folder: Path) -> Origin | None:
    """Read the origin of a run from its checkpoints; None where none of them has it.

    Args:
        folder: The folder of the checkpoints.
    """
    try:
        return _ADAPTER.validate_json(json.dumps(newest_facts(folder)[_KEY]))
    except (KeyError, ValidationError):
        return None
