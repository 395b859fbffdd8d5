"""Small random encoders of DINOv3 in the layouts of transformers, Meta and timm."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

_META = (
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^embeddings\.register_tokens$", "storage_tokens"),
    (r"^embeddings\.", ""),
    (r"^(?:model\.)?layer\.", "blocks."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.gate_proj\.", ".mlp.w1."),
)


def random_dinov3(width: int = 128, depth: int = 3, *, gated: bool = False) -> dict[str, Tensor]:
    """Random weights by the names that transformers saves."""
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        intermediate_size=2 * width,
        num_register_tokens=4,
        use_gated_mlp=gated,
        hidden_act="silu" if gated else "gelu",
    )
    torch.manual_seed(1)
    state = transformers.DINOv3ViTModel(config).state_dict()
    return {
        name.removeprefix("model."): torch.randn_like(tensor) * 0.7 * tensor.shape[-1] ** -0.5
        for name, tensor in state.items()
    }


def of_meta(state: dict[str, Tensor], *, gated: bool = False) -> dict[str, Tensor]:
    """The same weights by Meta's names, with the masked bias of the keys that its files hold."""
    tensors: dict[str, Tensor] = {"rope_embed.periods": torch.ones(16)}
    rules = _META
    if gated:
        rules = (*_META, (r"\.mlp\.up_proj\.", ".mlp.w2."), (r"\.mlp\.down_proj\.", ".mlp.w3."))
    else:
        rules = (*_META, (r"\.mlp\.up_proj\.", ".mlp.fc1."), (r"\.mlp\.down_proj\.", ".mlp.fc2."))
    for name, tensor in state.items():
        if found := re.match(r"layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$", name):
            if found[2] == "q":
                key = state.get(
                    name.replace("q_proj", "k_proj"), torch.full_like(tensor, torch.nan)
                )
                value = state[name.replace("q_proj", "v_proj")]
                start = f"blocks.{found[1]}.attn.qkv."
                tensors[start + found[3]] = torch.cat([tensor, key, value])
                if found[3] == "bias":
                    mask = [torch.ones_like(value), torch.zeros_like(key), torch.ones_like(value)]
                    tensors[f"{start}bias_mask"] = torch.cat(mask)
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    return tensors


def write_encoder(path: Path, tensors: dict[str, Any]) -> Path:
    """Write tensors as safetensors or as a `.pth`, by the suffix of the path."""
    if path.suffix == ".safetensors":
        save_file({name: each.contiguous() for name, each in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def random_dinov2(
    width: int = 128, depth: int = 4, *, registers: bool = False
) -> dict[str, Tensor]:
    """A random DINOv2 of patch 14 and 4 x 4 positions, by Meta's names."""
    torch.manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "mask_token": (1, width),
        "pos_embed": (1, 17, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if registers:
        shapes["register_tokens"] = (1, 4, width)
    for block in range(depth):
        start = f"blocks.{block}."
        for name, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {
                f"{start}{name}.weight": (outputs, inputs),
                f"{start}{name}.bias": (outputs,),
            }
        for name in ("norm1", "norm2"):
            shapes |= {f"{start}{name}.weight": (width,), f"{start}{name}.bias": (width,)}
        shapes |= {f"{start}ls{index}.gamma": (width,) for index in (1, 2)}
    return {
        name: torch.randn(shape) * 0.7 * (shape[-1] if len(shape) == 2 else 4) ** -0.5
        for name, shape in shapes.items()
    }
