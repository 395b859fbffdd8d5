"""The one answer to what kind of file a model is in, and the one way to load it."""

import logging
from pathlib import Path
from typing import Literal

import torch

from segmenter.calls import checks_call
from segmenter.checkpoints import model_file
from segmenter.checkpoints.bundled import BUNDLED_ENCODERS, bundled_models
from segmenter.checkpoints.foreign.hugging_face.shards import is_index
from segmenter.checkpoints.foreign.pickle.containers import is_safetensors
from segmenter.checkpoints.foreign.read import read_foreign_model
from segmenter.checkpoints.hub import WEIGHT_FILES, download_model, is_hub_name
from segmenter.errors import UserError
from segmenter.files.names import path_problem
from segmenter.files.yaml import nearest
from segmenter.model.segmenter import Segmenter

log = logging.getLogger("segmenter.checkpoints")
FileKind = Literal["exported", "model", "tensors", "foreign"]
"""A graph that was exported; a model that `save` wrote; safetensors that hold no such model; what
another code base wrote, by pickle or NumPy."""
EXPORTED_SUFFIXES = (".onnx", ".xml")


def resolve(name_or_path: str | Path) -> Path:
    """Return the file of a bundled name, of a path, or of `hf:owner/name`, which may be downloaded.

    Of a folder, such as Hugging Face's, it is the file of weights inside.

    Raises:
        UserError: If it is none of these, or cannot be downloaded.
    """
    if not isinstance(name_or_path, str | Path):
        raise UserError(
            f"a model is a bundled name or the path of a file, got {type(name_or_path).__name__}"
        )
    if problem := path_problem(name_or_path):
        raise UserError(f"the name or path of a model {problem}")
    if isinstance(name_or_path, str) and is_hub_name(name_or_path):
        return download_model(name_or_path)
    bundled = bundled_models()
    if str(name_or_path) in bundled:
        return bundled[str(name_or_path)]
    if str(name_or_path) in BUNDLED_ENCODERS:
        raise UserError(
            f"{name_or_path} is an encoder, not a model: it has no classes until it is trained "
            f"(segmenter train --data FOLDER --from {name_or_path}); bundled models are "
            f"{', '.join(bundled)}"
        )
    if Path(name_or_path).is_dir():
        return weights_in(Path(name_or_path))
    if not Path(name_or_path).is_file():
        near = nearest(str(name_or_path), [*bundled, *BUNDLED_ENCODERS])
        raise UserError(
            f"no model {str(name_or_path)!r}{near}: neither a file nor a bundled name "
            f"({', '.join(bundled)}; {', '.join(BUNDLED_ENCODERS)} to start training from), nor of "
            "the form hf:owner/name"
        )
    return Path(name_or_path)


def weights_in(folder: Path) -> Path:
    """Return the file of weights, or the index of several, in a folder as Hugging Face has it.

    Raises:
        UserError: If there is none, or weights are split over several pickles.
    """
    if found := _weights_in(folder):
        return found
    if (folder / "pytorch_model.bin.index.json").is_file():
        raise UserError(
            f"{folder} holds several pickles (pytorch_model.bin.index.json); save them as "
            "safetensors, with save_pretrained of transformers"
        )
    raise UserError(
        f"{folder} is a folder without {', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}"
    )


def holds_weights(folder: Path) -> bool:
    """Return whether a folder is a model in the layout of Hugging Face."""
    return _weights_in(folder) is not None


def _weights_in(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def is_exported(path: Path) -> bool:
    """Return whether a file is, by its suffix, a graph and no checkpoint."""
    return path.suffix in EXPORTED_SUFFIXES


def file_kind(path: Path) -> FileKind:
    """Return what a file is: a graph or an index by its suffix, all else by how it begins.

    Raises:
        UserError: If it cannot be read.
    """
    if is_exported(path):
        return "exported"
    if is_index(path):
        return "tensors"
    if not is_safetensors(path):
        return "foreign"
    return "model" if model_file.is_model_file(path) else "tensors"


@checks_call
def load(
    name_or_path: str | Path,
    device: str | torch.device = "cpu",
    *,
    base: str | Path | None = None,
) -> Segmenter:
    """Load a model by bundled name, path or `hf:owner/name`: in eval mode, float32, on `device`.

    Checkpoints of PaddleSeg, the paper's code, MMSegmentation and EoMT are recognised by their
    content, and so are folders of Hugging Face; see docs/how-to/checkpoints.md.

    Args:
        name_or_path: A bundled name such as `street`, the path of a file, or `hf:owner/name`.
        device: Device of the weights, such as `cpu` or `cuda:1`.
        base: The encoder of a file that holds only a decoder, or differences to an encoder (EoMT
            with DINOv3).

    Raises:
        UserError: If the model does not exist, or its file is damaged, dangerous or not a
            Segmenter.

    Example:
        model = segmenter.load("street")
        model.spec.classes.names  # ('sky', 'building', 'pole', ...)
    """
    _check_device(device)
    path = resolve(name_or_path)
    if is_exported(path):
        raise UserError(
            f"{path} is an exported graph, without weights for torch; use it with `Predictor`, "
            "`predict` or `evaluate`"
        )
    found = open_model(path, device, None if base is None else resolve(base))
    if found is None:
        raise UserError(
            f"{path} holds weights but no Segmenter model; a bare encoder is for `model.weights` "
            "of a recipe"
        )
    return found


def _check_device(device: str | torch.device) -> None:
    """Refuse a device that is not there, before anything is read."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ImportError):
        raise UserError(
            f"device {str(device)!r} cannot be used to load a model; give cpu, or cuda or mps "
            "if available"
        ) from None


def open_model(
    path: Path, device: str | torch.device = "cpu", base: Path | None = None
) -> Segmenter | None:
    """Read the model in a file of weights; None if it holds weights, but no Segmenter.

    Args:
        path: The file.
        device: Where the weights shall be.
        base: The encoder that the file adds a decoder or differences to.

    Raises:
        UserError: If the file is damaged, dangerous, or holds no weights.
    """
    kind = file_kind(path)
    if kind == "model":
        if base is not None:
            raise UserError(f"{path} holds a whole model; omit base")
        return model_file.read(path, device)
    foreign = read_foreign_model(path, base=base)
    if foreign is None:
        return None
    for assumption in foreign.assumptions:
        log.warning("%s: %s", path, assumption)
    return foreign.build(str(path), device)
