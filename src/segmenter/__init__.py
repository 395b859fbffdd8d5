"""Semantic segmentation with plain vision transformers (Strudel et al., ICCV 2021).

The public door: `load`, `save`, `Predictor`, `Segmenter`, `attention_maps`, `UserError`.
"""

from typing import TYPE_CHECKING, Any

from segmenter.errors import UserError

if TYPE_CHECKING:
    from segmenter.checkpoints import load, save
    from segmenter.inference.predictor import Predictor
    from segmenter.model import ModelSpec, Protocol, Segmenter
    from segmenter.model.attention_maps import AttentionMaps, attention_maps

__all__ = [
    "AttentionMaps",
    "ModelSpec",
    "Predictor",
    "Protocol",
    "Segmenter",
    "UserError",
    "attention_maps",
    "load",
    "save",
]

_HOME = {
    "load": "segmenter.checkpoints",
    "save": "segmenter.checkpoints",
    "Predictor": "segmenter.inference.predictor",
    "AttentionMaps": "segmenter.model.attention_maps",
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
