"""The models that come with the package, and the one way to load any model."""

from pathlib import Path

import torch

from segmenter.checkpoints import model_file as own
from segmenter.checkpoints.foreign.pickle.containers import is_safetensors
from segmenter.checkpoints.foreign.read import read_published
from segmenter.checkpoints.hub import download_model, is_hub_name
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.model.segmenter import Segmenter

_FOLDER = Path(__file__).parents[1] / "bundled"


def bundled_models() -> dict[str, Path]:
    """Name -> file of the models inside the package."""
    files = sorted(_FOLDER.glob("*.safetensors"), key=lambda path: path.stem)
    return {path.stem: path for path in files}


def resolve(name_or_path: str | Path) -> Path:
    """The file of a bundled name, of a path, or of `hf:owner/name`, which may be downloaded.

    Raises:
        UserError: If it is none of these, or cannot be downloaded.
    """
    if not isinstance(name_or_path, str | Path):
        raise UserError(
            f"a model is a bundled name or the path of a file, got {type(name_or_path).__name__}"
        )
    if isinstance(name_or_path, str) and is_hub_name(name_or_path):
        return download_model(name_or_path)
    bundled = bundled_models()
    if str(name_or_path) in bundled:
        return bundled[str(name_or_path)]
    if not Path(name_or_path).is_file():
        raise UserError(
            f"no model {str(name_or_path)!r}{nearest(str(name_or_path), list(bundled))}: neither "
            f"a file nor a bundled name ({', '.join(bundled)}), nor of the form hf:owner/name"
        )
    return Path(name_or_path)


def load(name_or_path: str | Path, device: str | torch.device = "cpu") -> Segmenter:
    """Load a model by bundled name, path or `hf:owner/name`: in eval mode, float32, on `device`.

    Besides our own files, those of PaddleSeg, of the paper's code and of MMSegmentation are read,
    whatever they are called; see docs/checkpoints.md.

    Raises:
        UserError: If there is no such model, or its file is damaged, dangerous or no Segmenter.
    """
    path = resolve(name_or_path)
    if path.suffix in {".onnx", ".xml"}:
        raise UserError(
            f"{path} is an exported graph, without weights for torch; `Predictor`, `predict` and "
            "`evaluate` take it"
        )
    if is_safetensors(path):
        return own.read(path, device)
    published = read_published(path)
    if published is None:
        raise UserError(
            f"{path} holds weights but no Segmenter; a bare encoder is for `model.weights` of a "
            "recipe"
        )
    return published.build(str(path), device)
