"""Find an evaluation protocol by name, and change its fields."""

from collections.abc import Mapping

from pydantic import ValidationError

from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model import ModelSpec, Protocol
from segmenter.model.protocol import published_protocol


def find_protocol(protocol: Protocol | str | None, spec: ModelSpec) -> Protocol:
    """Return the protocol given, a published one by name, or the model's own.

    Raises:
        UserError: If a name is not known.
    """
    own = spec.protocol
    if protocol is None:
        return own
    if isinstance(protocol, Protocol):
        return protocol
    if not isinstance(protocol, str):
        raise UserError(f"a protocol is a name or a Protocol, got {type(protocol).__name__}")
    window = own.window or spec.encoder.table_side
    sizes = {} if own.short_side is None else {"short_side": own.short_side}
    return published_protocol(
        protocol, window=window, stride=own.stride, max_ratio=own.max_ratio, **sizes
    )


def change_protocol(protocol: Protocol, changes: Mapping[str, object]) -> Protocol:
    """Return a protocol with single fields replaced.

    Raises:
        UserError: If a value is impossible, or fields contradict.
    """
    try:
        return Protocol.model_validate({**protocol.model_dump(), **changes})
    except ValidationError as error:
        raise UserError(first_problem(error, Protocol)) from None
