"""Our model file: one `.safetensors` with the weights, and the whole `ModelSpec` in its metadata.

Reading executes nothing. The file carries a SHA-256 of all that it says, since neither safetensors
nor a disk notices a flipped byte.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from segmenter.calls import check_types, checks_call
from segmenter.checkpoints.digests import Digests, digest
from segmenter.errors import UserError
from segmenter.files.names import path_problem
from segmenter.files.outputs import write_new
from segmenter.files.yaml import first_problem
from segmenter.memory import gigabytes, total_memory
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import ModelSpec

_SPEC_KEY = "segmenter"
_WEIGHTS_KEY = "sha256"
"""Key of the digest of names and bytes alone, the only one in files of 0.1.0."""
_CONTENT_KEY = "digest"
_DTYPES = ("float32", "float16")
_SAVED_DTYPES = tuple(getattr(torch, name) for name in _DTYPES)
_KINDS_OF_WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
"""int64: how many batches a batch norm has seen."""


@checks_call
def save(
    model: Segmenter,
    path: str | Path,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
) -> None:
    """Write a model and its spec to one file, which gets its name only when it is complete.

    Args:
        model: Model to save.
        path: The file, by convention `NAME.safetensors`.
        dtype: Type of the stored weights. float16 halves the file; `load` gives float32 again.
        overwrite: Replace an existing file.

    Raises:
        UserError: If the file exists or cannot be written.

    Example:
        model = segmenter.load("street")
        segmenter.save(model, "copy.safetensors", dtype="float16")
    """
    if not isinstance(model, Segmenter) or not isinstance(path, str | Path):
        given = f"{type(model).__name__} and {type(path).__name__}"
        raise UserError(f"save takes a Segmenter and the path of a file, got {given}")
    if problem := path_problem(path):
        raise UserError(f"the path of a model {problem}")
    check_types("save", {"overwrite": bool}, {"overwrite": overwrite})
    if dtype not in _DTYPES:
        raise UserError(f"dtype is {' or '.join(_DTYPES)}, got {dtype!r}")
    tensors = {
        name: tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    # One key: safetensors writes several in random order, and equal models are equal files.
    metadata = {_SPEC_KEY: json.dumps(seal(model.spec.model_dump(mode="json"), tensors))}
    write_new(Path(path), serialize(tensors, metadata=metadata), overwrite=overwrite)


def seal(spec: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Header of a model file: the spec, and the SHA-256 of spec and tensors."""
    found = digest(sorted(tensors.items()), spec)
    return {"spec": spec, _WEIGHTS_KEY: found.weights, _CONTENT_KEY: found.content}


def read(
    path: Path, device: str | torch.device = "cpu", *, content: str | None = None
) -> Segmenter:
    """Read a model written by `save`: in eval mode, float32, on `device`.

    Args:
        path: The file.
        device: Where the weights go.
        content: The `Digests.content` that the file had when it was looked at first, if it was.

    Raises:
        UserError: If the file is missing, damaged, not one of ours, or changed since.
    """
    tensors, metadata = read_tensors(path)
    spec, facts = _facts(path, metadata)
    found = _checked(path, facts, digest(sorted(tensors.items()), facts["spec"]))
    if content is not None and found.content != content:
        raise UserError(f"{path} was changed while it was read; try again")
    _check_dtypes(path, tensors.items())
    return assemble(spec, tensors, str(path), device)


def read_spec(path: Path) -> ModelSpec:
    """Return the spec of a model written by `save`; its weights are not read.

    Raises:
        UserError: If the file is missing, damaged, or not one of ours.
    """
    return _facts(path, read_metadata(path))[0]


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Raises:
        UserError: If the file is missing, truncated or no safetensors file.
    """
    with _opened(path) as file:
        return file.metadata() or {}


def verify(path: Path) -> tuple[ModelSpec, Digests]:
    """Read a whole model file, a tensor at a time, and return its spec and digests.

    Raises:
        UserError: If the file is missing, damaged, or not one of ours.
    """
    with _opened(path) as file:
        spec, facts = _facts(path, file.metadata() or {})
        tensors = [(name, file.get_tensor(name)) for name in sorted(file.keys())]
        found = _checked(path, facts, digest(tensors, facts["spec"]))
        _check_dtypes(path, tensors)
        return spec, found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file.

    Raises:
        UserError: If it is missing, truncated or no safetensors file.
    """
    if not path.is_file():
        raise UserError(f"no such model file: {path}")
    check_memory(path, path.stat().st_size)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from None


def check_memory(path: Path, num_bytes: int) -> None:
    """Refuse weights that no memory holds.

    Raises:
        UserError: If `num_bytes` are more than the machine has.
    """
    if num_bytes > total_memory():
        raise UserError(
            f"{path} has {gigabytes(num_bytes)}, and there are {gigabytes(total_memory())} of "
            "memory; use a smaller model or a larger machine"
        )


def _checked(path: Path, facts: dict[str, Any], found: Digests) -> Digests:
    """Refuse a file whose digest is another than what was found in it."""
    claimed, right = facts.get(_WEIGHTS_KEY), found.weights
    if _CONTENT_KEY in facts:
        claimed, right = facts[_CONTENT_KEY], found.content
    if claimed != right:
        raise UserError(f"{path} is damaged: its content does not match its SHA-256")
    return found


def _check_dtypes(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse kinds of number that `save` never writes: files of 0.1.0 do not vouch for theirs."""
    for name, tensor in tensors:
        if tensor.dtype not in _SAVED_DTYPES:
            raise UserError(
                f"{path}: {name} has type {tensor.dtype}; a model file holds {' or '.join(_DTYPES)}"
            )


def _facts(path: Path, metadata: dict[str, str]) -> tuple[ModelSpec, dict[str, Any]]:
    """Return the spec in the metadata of a file, and all that stands beside it, as JSON."""
    if _SPEC_KEY not in metadata:
        raise UserError(
            f"{path} holds tensors but no Segmenter model; a bare encoder is for "
            "`model.weights` of a recipe"
        )
    try:
        facts = json.loads(metadata[_SPEC_KEY])
        return ModelSpec.model_validate(facts["spec"]), facts
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, ModelSpec)}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged: its description cannot be read") from None


def assemble(
    spec: ModelSpec, tensors: dict[str, Tensor], source: str, device: str | torch.device
) -> Segmenter:
    """Make a model of its spec and weights: in eval mode, float32, on `device`.

    Raises:
        UserError: If the weights do not fit; see `check_fit`.
    """
    try:
        with torch.device("meta"):
            model = Segmenter(spec)
    except (RuntimeError, OverflowError):  # sizes whose product is beyond 64 bits
        raise UserError(f"{source} describes a model that is too large") from None
    check_fit(model.state_dict(), tensors, source)
    floats = {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}
    model.load_state_dict(floats, assign=True)
    return model.to(device).eval()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors and the metadata of a safetensors file.

    Raises:
        UserError: If the file is missing, truncated or no safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def is_model_file(path: Path) -> bool:
    """Return whether a readable safetensors file is a model that `save` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            return _SPEC_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def check_fit(
    wanted: dict[str, Tensor], given: dict[str, Tensor], source: str, hint: str = ""
) -> None:
    """Refuse weights that do not fit a model, or hold numbers that are not finite.

    Args:
        wanted: The tensors of the model.
        given: Those that are to take their place.
        source: What to call them.
        hint: What can be done about weights that do not fit.

    Raises:
        UserError: Naming every missing, unexpected and mis-shaped tensor, and those that are no
            weights by their kind of number.
    """
    findings = [f"missing {name}" for name in wanted if name not in given]
    findings += [f"unexpected {name}" for name in given if name not in wanted]
    findings += [
        f"{name} is {tuple(given[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    findings += _strange_dtypes(given)
    if findings:
        raise UserError(f"{source} does not fit the model: {'; '.join(findings)}{hint}")
    broken = [name for name, tensor in given.items() if not _is_finite(tensor)]
    if broken:
        raise UserError(f"{source} holds NaN or infinity in {', '.join(broken)}")


def check_dtypes(given: dict[str, Tensor], source: str) -> None:
    """Refuse weights, before they become float32, that are of no kind of number for weights.

    Raises:
        UserError: Naming each such tensor, as quantised models have them.
    """
    if findings := _strange_dtypes(given):
        raise UserError(f"{source} does not fit the model: {'; '.join(findings)}")


def _strange_dtypes(given: dict[str, Tensor]) -> list[str]:
    return [
        f"{name} is of {tensor.dtype}, which no weights are"
        for name, tensor in given.items()
        if tensor.dtype not in _KINDS_OF_WEIGHTS
    ]


def _is_finite(tensor: Tensor) -> bool:
    """Return True if no number is NaN or infinite: then the extremes are neither, in one pass.

    `isfinite` makes two tensors of the same size on its way, and takes twenty times as long.
    """
    return tensor.numel() == 0 or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
