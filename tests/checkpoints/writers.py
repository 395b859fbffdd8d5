"""Writes a model of ours as other code bases would: their names, axes and files."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from segmenter.model import Segmenter
from segmenter.model.decoders import LinearDecoderSpec, MaskTransformerSpec
from segmenter.model.spec import EncoderSpec, ModelSpec, Normalization
from tests.helpers.models import make_classes
from tests.helpers.paths import REPOSITORY
from tests.helpers.skips import NOT_HERE

Rules = tuple[tuple[str, str], ...]

_TIMM: Rules = (
    (r"\.attention\.project\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.mlp\.expand\.", ".mlp.fc1."),
    (r"\.mlp\.reduce\.", ".mlp.fc2."),
    (r"^encoder\.patch_embed\.", "encoder.patch_embed.proj."),
)
_RSTRUDEL: Rules = (
    *_TIMM,
    (r"^decoder\.project\.", "decoder.head."),
    (r"^decoder\.class_tokens", "decoder.cls_emb"),
    (r"^decoder\.project_in\.", "decoder.proj_dec."),
    (r"^decoder\.project_patches\.weight", "decoder.proj_patch"),
    (r"^decoder\.project_classes\.weight", "decoder.proj_classes"),
    (r"^decoder\.norm\.", "decoder.decoder_norm."),
    (r"^decoder\.norm_logits\.", "decoder.mask_norm."),
)
_PADDLESEG: Rules = (
    *_TIMM,
    (r"^encoder\.", "backbone."),
    (r"^decoder\.project\.", "head.head."),
    (r"^decoder\.class_tokens", "head.cls_token"),
    (r"^decoder\.project_in\.", "head.proj_input."),
    (r"^decoder\.project_patches\.", "head.proj_patch."),
    (r"^decoder\.project_classes\.", "head.proj_class."),
    (r"^decoder\.norm\.", "head.decoder_norm."),
    (r"^decoder\.norm_logits\.", "head.mask_norm."),
    (r"^decoder\.", "head."),
)
_MMSEG: Rules = (
    (r"\.attention\.qkv\.", ".attn.attn.in_proj_"),
    (r"\.attention\.project\.", ".attn.attn.out_proj."),
    (r"\.mlp\.expand\.", ".ffn.layers.0.0."),
    (r"\.mlp\.reduce\.", ".ffn.layers.1."),
    (r"\.blocks\.(\d+)\.norm([12])\.", r".blocks.\1.ln\2."),
    (r"\.blocks\.", ".layers."),
    (r"^encoder\.patch_embed\.", "backbone.patch_embed.projection."),
    (r"^encoder\.norm\.", "backbone.ln1."),
    (r"^encoder\.", "backbone."),
    (r"^decoder\.project\.", "decode_head.conv_seg."),
    (r"^decoder\.class_tokens", "decode_head.cls_emb"),
    (r"^decoder\.project_in\.", "decode_head.dec_proj."),
    (r"^decoder\.project_patches\.", "decode_head.patch_proj."),
    (r"^decoder\.project_classes\.", "decode_head.classes_proj."),
    (r"^decoder\.norm\.", "decode_head.decoder_norm."),
    (r"^decoder\.norm_logits\.", "decode_head.mask_norm."),
    (r"^decoder\.", "decode_head."),
)
VARIANT = """
net_kwargs:
  image_size: !!python/tuple [{size}, {size}]
  n_heads: {heads}
  normalization: {normalization}
  drop_path_rate: 0.1
  decoder: {{drop_path_rate: 0.0, dropout: 0.1}}
dataset_kwargs: {{dataset: {data_set}, image_size: {size}}}
inference_kwargs: {{im_size: {size}, window_size: {size}, window_stride: {size}}}
"""


def make_model(
    *,
    width: int = 64,
    depth: int = 2,
    patch: int = 16,
    grid: int = 4,
    tokens: int = 1,
    num_classes: int = 3,
    decoder: str = "mask",
    qkv_bias: bool = True,
) -> Segmenter:
    """A random model of any size."""
    spec = ModelSpec(
        encoder=EncoderSpec(
            architecture="any",
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_prefix_tokens=tokens,
            table_grid=(grid, grid),
        ),
        decoder=LinearDecoderSpec()
        if decoder == "linear"
        else MaskTransformerSpec(dim=width, qkv_bias=qkv_bias),
        classes=make_classes(num_classes),
        normalization=Normalization(mean=(127.5,) * 3, std=(127.5,) * 3),
    )
    return Segmenter(spec)


def peak_memory() -> float:
    """Bytes this process had in memory at most; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * float(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def run_measurement(code: str, argument: Path) -> list[float]:
    """What a fresh Python prints; skipped where peak memory cannot be seen."""
    if not Path("/proc/self/status").is_file():
        pytest.skip(f"{NOT_HERE}: /proc, which shows the peak memory")
    command = [sys.executable, "-c", code, str(argument)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return [float(number) for number in done.stdout.split()]


def rstrudel_table(model: Segmenter) -> dict[str, Tensor]:
    """The `model` table of a `checkpoint.pth`."""
    table = _renamed(model, _RSTRUDEL)
    for name in ("decoder.proj_patch", "decoder.proj_classes"):
        if name in table:
            table[name] = table[name].T.contiguous()
    width = model.spec.encoder.embed_dim
    return table | {"encoder.head.weight": torch.zeros(10, width)}


def paddleseg_table(model: Segmenter) -> dict[str, np.ndarray]:
    """What `paddle.save` is given."""
    table = _renamed(model, _PADDLESEG)
    return {
        name: np.ascontiguousarray((tensor.T if tensor.ndim == 2 else tensor).numpy())
        for name, tensor in table.items()
    }


def write_rstrudel(
    folder: Path, model: Segmenter, *, normalization: str = "vit", data_set: str = "ade20k"
) -> Path:
    """`checkpoint.pth` and `variant.yml` of the paper's code."""
    spec = model.spec.encoder
    path = folder / "checkpoint.pth"
    torch.save({"model": rstrudel_table(model), "n_cls": 3, "epoch": 63}, path)
    (folder / "variant.yml").write_text(
        VARIANT.format(
            size=spec.table_grid[0] * spec.patch_size,
            heads=spec.embed_dim // 64,
            normalization=normalization,
            data_set=data_set,
        )
    )
    return path


def mmseg_table(model: Segmenter) -> dict[str, Tensor]:
    """The `state_dict` of a `.pth`."""
    table = _renamed(model, _MMSEG)
    linear = table.get("decode_head.conv_seg.weight")
    if linear is not None:  # a convolution of one pixel
        table["decode_head.conv_seg.weight"] = linear[:, :, None, None]
    return table


def write_mmseg(folder: Path, model: Segmenter) -> Path:
    """A `.pth` of MMSegmentation."""
    path = folder / "iter_160000.pth"
    torch.save({"meta": {"iter": 160000}, "state_dict": mmseg_table(model)}, path)
    return path


def write_paddleseg(folder: Path, model: Segmenter, protocol: int = 4) -> Path:
    """A `model.pdparams`."""
    path = folder / "model.pdparams"
    table = paddleseg_table(model)
    content = table | {"StructuredToParameterName@@": {name: "w_0" for name in table}}
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=protocol)
    return path


def _renamed(model: Segmenter, rules: Rules) -> dict[str, Tensor]:
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    prefix = tensors.pop("encoder.prefix_tokens")
    positions = tensors.pop("encoder.prefix_positions")
    table = tensors.pop("encoder.position_table").flatten(2).transpose(1, 2)
    tensors["encoder.cls_token"] = prefix[:, :1]
    if prefix.shape[1] == 2:
        tensors["encoder.dist_token"] = prefix[:, 1:]
    tensors["encoder.pos_embed"] = torch.cat([positions, table], dim=1)
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor.contiguous()
    return renamed


def augreg_arrays(
    *, width: int = 64, depth: int = 3, patch: int = 16, grid: int = 14
) -> dict[str, np.ndarray]:
    """Names and shapes as google-research/vision_transformer writes them."""
    heads = width // 64
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, width),
        "embedding/kernel": (patch, patch, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, grid * grid + 1, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, 1000),
        "head/bias": (1000,),
    }
    attention = "MultiHeadDotProductAttention_1"
    for number in range(depth):
        block = f"Transformer/encoderblock_{number}"
        for part in ("query", "key", "value"):
            shapes[f"{block}/{attention}/{part}/kernel"] = (width, heads, 64)
            shapes[f"{block}/{attention}/{part}/bias"] = (heads, 64)
        shapes[f"{block}/{attention}/out/kernel"] = (heads, 64, width)
        shapes[f"{block}/{attention}/out/bias"] = (width,)
        for norm in (0, 2):
            shapes[f"{block}/LayerNorm_{norm}/scale"] = (width,)
            shapes[f"{block}/LayerNorm_{norm}/bias"] = (width,)
        for dense, (inside, outside) in enumerate([(width, 4 * width), (4 * width, width)]):
            shapes[f"{block}/MlpBlock_3/Dense_{dense}/kernel"] = (inside, outside)
            shapes[f"{block}/MlpBlock_3/Dense_{dense}/bias"] = (outside,)
    rng = np.random.default_rng(0)
    return {
        name: (0.1 * rng.standard_normal(shape, dtype=np.float32)) for name, shape in shapes.items()
    }
