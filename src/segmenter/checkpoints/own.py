"""Our model file: one `.safetensors` with the weights, and the whole `ModelSpec` in its metadata.

Reading executes nothing. The weights carry a SHA-256, since neither safetensors nor a disk
notices a flipped byte.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from segmenter.errors import UserError
from segmenter.model.segmenter import Segmenter
from segmenter.model.spec import ModelSpec
from segmenter.outputs import write_new
from segmenter.validation import first_problem

_SPEC_KEY = "segmenter"
_HASH_KEY = "sha256"
_DTYPES = ("float32", "float16")
_KINDS_OF_WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
"""int64: how many batches a batch norm has seen."""


def save(
    model: Segmenter,
    path: str | Path,
    *,
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
) -> None:
    """Write a model to one file, aside first and then renamed.

    Args:
        model: What to save; its spec goes with it.
        path: The file, by custom `NAME.safetensors`.
        dtype: How numbers are stored; float16 halves the file, and loading gives float32 again.
        overwrite: Replace a file that is there.

    Raises:
        UserError: If the file exists or cannot be written.
    """
    if not isinstance(model, Segmenter) or not isinstance(path, str | Path):
        given = f"{type(model).__name__} and {type(path).__name__}"
        raise UserError(f"save takes a Segmenter and the path of a file, got {given}")
    if dtype not in _DTYPES:
        raise UserError(f"dtype is {' or '.join(_DTYPES)}, got {dtype!r}")
    tensors = {
        name: tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    # One key: safetensors writes several in random order, and equal models are equal files.
    facts = {"spec": model.spec.model_dump(mode="json"), _HASH_KEY: hash_tensors(tensors)}
    metadata = {_SPEC_KEY: json.dumps(facts)}
    write_new(Path(path), serialize(tensors, metadata=metadata), overwrite=overwrite)


def read(path: Path, device: str | torch.device = "cpu") -> Segmenter:
    """Read a model written by `save`: in eval mode, float32, on `device`.

    Raises:
        UserError: If the file is missing, damaged, or not one of ours.
    """
    tensors, metadata = read_tensors(path)
    spec, digest = _facts(path, metadata)
    if digest != hash_tensors(tensors):
        raise UserError(f"{path} is damaged: its weights do not match their SHA-256")
    return assemble(spec, tensors, str(path), device)


def read_facts(path: Path) -> tuple[ModelSpec, str]:
    """What a model written by `save` is, and the SHA-256 of its weights, which are not read.

    Raises:
        UserError: If the file is missing, damaged, or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return _facts(path, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from None


def _facts(path: Path, metadata: dict[str, str]) -> tuple[ModelSpec, str]:
    """The spec and the SHA-256 in the metadata of a file."""
    if _SPEC_KEY not in metadata:
        raise UserError(
            f"{path} holds tensors but no Segmenter model; a bare encoder is for "
            "`model.weights` of a recipe"
        )
    try:
        facts = json.loads(metadata[_SPEC_KEY])
        return ModelSpec.model_validate(facts["spec"]), str(facts.get(_HASH_KEY))
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
        raise UserError(f"{source} describes a model too large to be") from None
    check_fit(model.state_dict(), tensors, source)
    floats = {name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}
    model.load_state_dict(floats, assign=True)
    return model.to(device).eval()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors and the metadata of a safetensors file.

    Raises:
        UserError: If the file is missing, truncated or no safetensors file.
    """
    if not path.is_file():
        raise UserError(f"no such model file: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from None


def is_own(path: Path) -> bool:
    """Whether a readable safetensors file is a whole model of ours, not bare weights."""
    try:
        with safe_open(path, framework="pt") as file:
            return _SPEC_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    findings += [
        f"{name} is of {tensor.dtype}, which no weights are"
        for name, tensor in given.items()
        if tensor.dtype not in _KINDS_OF_WEIGHTS
    ]
    if findings:
        raise UserError(f"{source} does not fit the model: {'; '.join(findings)}{hint}")
    broken = [name for name, tensor in given.items() if not _is_finite(tensor)]
    if broken:
        raise UserError(f"{source} holds NaN or infinity in {', '.join(broken)}")


def _is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite: then the extremes are neither, which takes one pass.

    `isfinite` makes two tensors of the same size on its way, and takes twenty times as long.
    """
    return tensor.numel() == 0 or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
