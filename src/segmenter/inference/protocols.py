"""Find an evaluation protocol by name, and change its fields."""

from collections.abc import Mapping

from pydantic import ValidationError

from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model import EvaluationProtocol, ModelSpec
from segmenter.model.protocol import published_protocol, with_symmetry

_ZERO = {
    "short_side": "; 0 leaves images as they are",
    "window": "; 0 shows the whole image at once",
}
"""The meaning of 0 for options whose protocol field is then None."""


def find_protocol(protocol: EvaluationProtocol | str | None, spec: ModelSpec) -> EvaluationProtocol:
    """Return the protocol given, a published one by name, or the model's own.

    Raises:
        UserError: If a name is not known.
    """
    own = spec.protocol
    if protocol is None:
        return own
    if isinstance(protocol, EvaluationProtocol):
        return protocol
    if not isinstance(protocol, str):
        raise UserError(
            f"a protocol is a name or an EvaluationProtocol, got {type(protocol).__name__}"
        )
    window = own.window or spec.encoder.table_side
    sizes = {} if own.short_side is None else {"short_side": own.short_side}
    return published_protocol(
        protocol, window=window, stride=own.stride, max_ratio=own.max_ratio, **sizes
    )


def scoring_protocol(name: str | None) -> EvaluationProtocol:
    """Return a published protocol, or our own, of which only the rules of scoring count.

    Raises:
        UserError: If the name is not known.
    """
    return EvaluationProtocol() if name is None else published_protocol(name, window=None)


def change_protocol(
    protocol: EvaluationProtocol, changes: Mapping[str, object]
) -> EvaluationProtocol:
    """Return a protocol with single fields replaced.

    A window given without a stride keeps the stride of the protocol, or, where there is none or it
    is larger, becomes the stride: windows lie side by side.

    Raises:
        UserError: If a value is impossible, or fields contradict.
    """
    _check_stride(protocol, changes)
    try:
        changes = with_symmetry(dict(changes))
    except ValueError as error:
        raise UserError(str(error)) from None
    fields = {**protocol.model_dump(), **changes}
    window = fields["window"]
    if "stride" not in changes and isinstance(window, int):
        fields["stride"] = min(protocol.stride or window, window)
    try:
        return EvaluationProtocol.model_validate(fields)
    except ValidationError as error:
        raise UserError(_in_options(first_problem(error, EvaluationProtocol), changes)) from None


def _in_options(problem: str, changes: Mapping[str, object]) -> str:
    """Name the option that gave a wrong value, in place of the field of the protocol."""
    place, colon, what = problem.partition(":")
    name = place.partition(".")[0]
    if not colon or name not in changes:
        return problem
    return f"--{name.replace('_', '-')}:{what}{_ZERO.get(name, '')}"


def _check_stride(protocol: EvaluationProtocol, changes: Mapping[str, object]) -> None:
    """Reject a stride that has no windows, or is larger than they are."""
    stride, window = changes.get("stride"), changes.get("window", protocol.window)
    if not isinstance(stride, int):
        return
    if window is None:
        shown = "images are shown whole here"
        way = "omit it" if "window" in changes else "give --window too, or omit it"
        raise UserError(f"--stride {stride} is the distance of windows, and {shown}; {way}")
    if isinstance(window, int) and stride > window:
        raise UserError(
            f"--stride {stride} is larger than the window of {window}: pixels would be skipped; "
            "give a stride of at most the window"
        )


def check_window(protocol: EvaluationProtocol, spec: ModelSpec) -> None:
    """Reject windows smaller than a patch, and averages that the model does not support.

    Raises:
        UserError: If they are too small, or the model has no scores to average.
    """
    if problem := spec.score_problem(protocol):
        raise UserError(f"this protocol cannot be used: {problem}")
    patch = spec.encoder.patch_size
    if protocol.window is not None and protocol.window < patch:
        raise UserError(
            f"a window of {protocol.window} pixels holds less than one patch; this model's patches "
            f"have {patch}: give at least that"
        )
