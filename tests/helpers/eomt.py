"""The golden EoMT in the layout of Hugging Face."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.helpers.paths import GOLDEN

GOLDEN_EOMT = GOLDEN / "eomt"
INDEX = "model.safetensors.index.json"
CONFIG = {
    "architectures": ["EomtForUniversalSegmentation"],
    "model_type": "eomt",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "num_blocks": 2,
    "num_queries": 12,
    "num_register_tokens": 4,
    "num_upscale_blocks": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "id2label": {str(index): f"thing {index}" for index in range(11)},
}
NAMES = (
    (
        r"^network\.encoder\.backbone\.patch_embed\.proj\.",
        "embeddings.patch_embeddings.projection.",
    ),
    (r"^network\.encoder\.backbone\.blocks\.", "layers."),
    (r"^network\.encoder\.backbone\.norm\.", "layernorm."),
    (r"\.attn\.proj\.", ".attention.out_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"^network\.q\.weight$", "query.weight"),
    (r"^network\.class_head\.", "class_predictor."),
    (r"^network\.mask_head\.0\.", "mask_head.fc1."),
    (r"^network\.mask_head\.2\.", "mask_head.fc2."),
    (r"^network\.mask_head\.4\.", "mask_head.fc3."),
    (r"^network\.upscale\.(\d)\.norm\.", r"upscale_block.block.\1.layernorm2d."),
    (r"^network\.upscale\.(\d)\.", r"upscale_block.block.\1."),
    (r"^network\.attn_mask_probs", "attn_mask_probs"),
)


def of_hugging_face(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of tue-mps under the names of transformers."""
    weights = {name: tensor for name, tensor in weights.items() if "pixel_" not in name}
    backbone = "network.encoder.backbone."
    tensors = {
        "embeddings.cls_token": weights.pop(f"{backbone}cls_token"),
        "embeddings.register_tokens": weights.pop(f"{backbone}reg_token"),
        "embeddings.position_embeddings.weight": weights.pop(f"{backbone}pos_embed")[0],
    }
    for name, tensor in weights.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        if ".attn.qkv." in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                tensors[name.replace(".attn.qkv.", f".attention.{part}_proj.")] = piece.clone()
        else:
            tensors[name] = tensor
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def write_folder(folder: Path, tensors: dict[str, Tensor], **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | changed))
    return folder


def write_shards(folder: Path, tensors: dict[str, Tensor], **changed: Any) -> Path:
    """Write the weights in two files, and the index that lists them."""
    folder.mkdir(exist_ok=True)
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG | changed))
    return folder


def mis_shaped(tensors: dict[str, Tensor], shape: tuple[int, ...]) -> Iterator[dict[str, Tensor]]:
    """The tensors, one after the other in this shape, less those that the model does not need.

    Blocks after the first are like it.
    """
    for name in tensors:
        if not re.search(r"(blocks|layers)\.[1-9]|criterion|pixel_|num_batches", name):
            yield tensors | {name: torch.ones(shape)}


def random_model(kind: str, **changed: Any) -> Any:
    """A model of transformers with weights large enough for differences to show."""
    transformers = pytest.importorskip("transformers")
    sizes = {name: CONFIG[name] for name in CONFIG if name not in ("architectures", "model_type")}
    sizes |= changed
    torch.manual_seed(0)
    if kind == "eomt":
        model = transformers.EomtForUniversalSegmentation(transformers.EomtConfig(**sizes))
    else:
        sizes.setdefault("intermediate_size", 4 * sizes["hidden_size"])
        config = transformers.EomtDinov3Config(**sizes)
        model = transformers.EomtDinov3ForUniversalSegmentation(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.7 * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model.query.weight.normal_()
        model.attn_mask_probs.zero_()
    return model.eval()
