"""The encoders that Google published as `.npz` (AugReg), under timm's names.

Source: google-research/vision_transformer; timm `models/vision_transformer.py` reads them alike.
"""

import re

import torch
from torch import Tensor

from segmenter.errors import UserError

_BLOCK = re.compile(r"^Transformer/encoderblock_(\d{1,6})/(.+)$")
_ATTENTION = "MultiHeadDotProductAttention_1"
_CLASSIFIER = re.compile(r"^(head|pre_logits)/")
_OUTSIDE_BLOCKS = {
    "cls": "cls_token",
    "embedding/kernel": "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
}
_IN_BLOCKS = {
    "LayerNorm_0/scale": "norm1.weight",
    "LayerNorm_0/bias": "norm1.bias",
    "LayerNorm_2/scale": "norm2.weight",
    "LayerNorm_2/bias": "norm2.bias",
    "MlpBlock_3/Dense_0/kernel": "mlp.fc1.weight",
    "MlpBlock_3/Dense_0/bias": "mlp.fc1.bias",
    "MlpBlock_3/Dense_1/kernel": "mlp.fc2.weight",
    "MlpBlock_3/Dense_1/bias": "mlp.fc2.bias",
    f"{_ATTENTION}/out/kernel": "attn.proj.weight",
    f"{_ATTENTION}/out/bias": "attn.proj.bias",
}


def is_augreg(tensors: dict[str, Tensor]) -> bool:
    """Return True if arrays are those of an AugReg encoder."""
    return "embedding/kernel" in tensors


def rename_augreg_tensors(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Give the arrays timm's names and axes; names that are not known stay as they are.

    Raises:
        UserError: If an array has the wrong number of axes.
    """
    try:
        return _rename(tensors)
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source} is not a whole AugReg encoder: {reason}") from None


def _rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        if _CLASSIFIER.match(name):
            continue
        block = _BLOCK.match(name)
        if name == "embedding/kernel":  # (height, width, in, out)
            tensor = tensor.permute(3, 2, 0, 1)
        if block is None:
            renamed[_OUTSIDE_BLOCKS.get(name, name)] = tensor
            continue
        number, inner = block[1], block[2]
        if inner.startswith(f"{_ATTENTION}/query/"):
            kind = inner.rsplit("/", 1)[1]  # kernel (width, heads, 64) or bias (heads, 64)
            parts = [tensors[name.replace("/query/", f"/{part}/")] for part in _QKV]
            joined = torch.cat([part.flatten(-2) for part in parts], dim=-1)
            timm_name = "weight" if kind == "kernel" else "bias"
            renamed[f"blocks.{number}.attn.qkv.{timm_name}"] = (
                joined.T if joined.ndim == 2 else joined
            )
        elif not inner.startswith((f"{_ATTENTION}/key/", f"{_ATTENTION}/value/")):
            if inner == f"{_ATTENTION}/out/kernel":  # (heads, 64, width)
                tensor = tensor.flatten(0, 1)
            matrix = tensor.T if tensor.ndim == 2 else tensor
            renamed[f"blocks.{number}.{_IN_BLOCKS.get(inner, inner)}"] = matrix
    return renamed


_QKV = ("query", "key", "value")
