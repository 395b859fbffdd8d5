"""Semantic segmentation with plain vision transformers (Strudel et al., ICCV 2021).

`Predictor` labels images. `fit`, `train`, `evaluate`, `check`, `export` and `convert` are the
commands of these names as functions. `load` and `save` read and write models. See
docs/tutorials/python.md.
"""

from typing import TYPE_CHECKING, Any

from segmenter.errors import UserError

if TYPE_CHECKING:
    from segmenter.api.checking import check
    from segmenter.api.converting import convert
    from segmenter.api.evaluating import evaluate
    from segmenter.api.exporting import export
    from segmenter.api.fitting import fit
    from segmenter.api.run_fit import FittedModel
    from segmenter.api.training import TrainedModel, train
    from segmenter.checkpoints import load, save
    from segmenter.inference.predictor import Predictor
    from segmenter.inference.segmentation import Segmentation
    from segmenter.model import EvaluationProtocol, ModelSpec, Protocol, Segmenter
    from segmenter.model.attention_maps import AttentionMaps, attention_maps

__all__ = [
    "AttentionMaps",
    "EvaluationProtocol",
    "FittedModel",
    "ModelSpec",
    "Predictor",
    "Protocol",
    "Segmentation",
    "Segmenter",
    "TrainedModel",
    "UserError",
    "attention_maps",
    "check",
    "convert",
    "evaluate",
    "export",
    "fit",
    "load",
    "save",
    "train",
]

_HOME = {
    "load": "segmenter.checkpoints",
    "save": "segmenter.checkpoints",
    "Predictor": "segmenter.inference.predictor",
    "Segmentation": "segmenter.inference.segmentation",
    "TrainedModel": "segmenter.api.training",
    "check": "segmenter.api.checking",
    "convert": "segmenter.api.converting",
    "evaluate": "segmenter.api.evaluating",
    "export": "segmenter.api.exporting",
    "fit": "segmenter.api.fitting",
    "FittedModel": "segmenter.api.run_fit",
    "train": "segmenter.api.training",
    "AttentionMaps": "segmenter.model.attention_maps",
    "EvaluationProtocol": "segmenter.model",
    "ModelSpec": "segmenter.model",
    "Protocol": "segmenter.model",
    "Segmenter": "segmenter.model",
    "attention_maps": "segmenter.model.attention_maps",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and `segmenter --help` must not wait for it."""
    if name not in _HOME:
        raise AttributeError(f"module 'segmenter' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return all public names, for completion: most are not imported yet."""
    return sorted({*globals(), *__all__})
