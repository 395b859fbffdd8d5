"""The plain ViTs that can be built by name, with the numbers behind each name.

Names are timm's, so that `timm:NAME` finds the weights. A name without a tag is the architecture.
"""

from typing import Literal, NamedTuple

from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.model.spec import EncoderSpec, Normalization


class _Size(NamedTuple):
    width: int
    depth: int
    mlp: Literal["gelu", "swiglu"] = "gelu"
    mlp_ratio: float = 4.0
    head_dim: int = 64


_SIZES = {
    "tiny": _Size(192, 12),
    "small": _Size(384, 12),
    "small_plus": _Size(384, 12, "swiglu"),
    "base": _Size(768, 12),
    "large": _Size(1024, 24),
    "large_plus": _Size(1024, 24, "swiglu"),
    "so400m": _Size(1152, 27, mlp_ratio=3.7362, head_dim=72),
    "huge_plus": _Size(1280, 32, "swiglu"),
    "giant": _Size(1536, 40, "swiglu", mlp_ratio=8 / 3),
    "7b": _Size(4096, 40, "swiglu", mlp_ratio=2.0, head_dim=128),
}

UNIT = Normalization(mean=(0,) * 3, std=(255,) * 3)
"""TIPSv2's: 0 to 255 becomes 0 to 1."""
HALF = Normalization(mean=(127.5,) * 3, std=(127.5,) * 3)
"""AugReg's: 0 to 255 becomes -1 to 1."""
IMAGENET = Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
IMAGENET_ROUNDED = Normalization(mean=(123.68, 116.28, 103.53), std=(58.40, 57.12, 57.38))
"""As the paper's code has it, on 0 to 255."""
CLIP = Normalization(
    mean=(122.7709383, 116.7460125, 104.09373615), std=(68.5005327, 66.6321579, 70.32316305)
)
"""OpenAI's, which EVA-02 took over."""
SATELLITE = Normalization(mean=(109.65, 104.805, 75.48), std=(54.315, 39.78, 36.465))
"""DINOv3's, of SAT-493M."""


def _vit(size: str, patch: int, image: int, **details: object) -> EncoderSpec:
    width, depth, mlp, mlp_ratio, head_dim = _SIZES[size]
    fields = {
        "architecture": f"vit_{size}_patch{patch}_{image}",
        "patch_size": patch,
        "embed_dim": width,
        "head_dim": head_dim,
        "depth": depth,
        "mlp": mlp,
        "mlp_ratio": mlp_ratio,
        "table_grid": (image // patch, image // patch),
    }
    return EncoderSpec.model_validate(fields | details)


def _deit(size: str, image: int, *, distilled: bool = False) -> EncoderSpec:
    middle = "_distilled" if distilled else ""
    name = f"deit_{size}{middle}_patch16_{image}"
    return _vit(size, 16, image, architecture=name, num_prefix_tokens=2 if distilled else 1)


def _deit3(size: str, image: int) -> EncoderSpec:
    name = f"deit3_{size}_patch16_{image}"
    return _vit(size, 16, image, architecture=name, prefix_positions=False, layer_scale=True)


def _siglip(size: str, patch: int, image: int) -> EncoderSpec:
    return _vit(
        size,
        patch,
        image,
        architecture=f"vit_{size}_patch{patch}_siglip_{image}",
        num_prefix_tokens=0,
        prefix_positions=False,
    )


def _eva02(size: str, image: int) -> EncoderSpec:
    return _vit(
        size,
        14,
        image,
        architecture=f"eva02_{size}_patch14_{image}",
        position="both",
        rotary_temperature=10000.0,
        rotary_grid=(16, 16),
        mlp="swiglu",
        mlp_ratio=4 * 2 / 3,
        mlp_norm=size in ("base", "large"),
    )


def _dinov2(size: str, *, registers: bool) -> EncoderSpec:
    middle = "_reg4" if registers else ""
    return _vit(
        size,
        14,
        518,
        architecture=f"vit_{size}_patch14{middle}_dinov2",
        num_prefix_tokens=5 if registers else 1,
        prefix_positions=not registers,
        table_antialias=registers,
        layer_scale=True,
    )


def _tipsv2(size: str) -> EncoderSpec:
    return _vit(
        size,
        14,
        448,
        architecture=f"vit_{size}_patch14_reg1_tipsv2",
        num_prefix_tokens=2,
        prefix_positions=False,
        table_resize="bilinear",
        table_antialias=True,
        layer_scale=True,
    )


def _dinov3(size: str, suffix: str = "dinov3", *, biased: bool = False) -> EncoderSpec:
    return _vit(
        size,
        16,
        256,
        architecture=f"vit_{size}_patch16_{suffix}",
        num_prefix_tokens=5,
        position="rotary",
        table_grid=None,
        prefix_positions=False,
        layer_norm_eps=1e-5,
        layer_scale=True,
        qkv_bias=biased,
    )


_AUGREG = (
    *(_vit(size, 16, image) for size in ("tiny", "small", "base", "large") for image in (224, 384)),
    *(_vit(size, 32, image) for size in ("small", "base") for image in (224, 384)),
    _vit("large", 32, 384),
    _vit("small", 8, 224),
    _vit("base", 8, 224),
)
_SIGLIP = (
    *(_siglip("base", 16, image) for image in (224, 256, 384, 512)),
    *(_siglip("large", 16, image) for image in (256, 384, 512)),
    _siglip("base", 32, 256),
)
_EVA02 = (
    *(_eva02(size, 224) for size in ("tiny", "small", "base", "large")),
    *(_eva02(size, 336) for size in ("tiny", "small")),
    *(_eva02(size, 448) for size in ("base", "large")),
)
_OTHERS = (
    *(_deit(size, 224, distilled=d) for size in ("tiny", "small", "base") for d in (False, True)),
    *(_deit("base", 384, distilled=d) for d in (False, True)),
    *(_deit3(size, image) for size in ("small", "base", "large") for image in (224, 384)),
    *(
        _dinov2(size, registers=reg)
        for size in ("small", "base", "large", "giant")
        for reg in (False, True)
    ),
    *(
        _dinov3(size, "dinov3_qkvb" if biased else "dinov3", biased=biased)
        for size in ("small", "small_plus", "base", "large", "large_plus", "huge_plus")
        for biased in (False, True)
    ),
    _dinov3("tiny", "dinov3_qkvb", biased=True),
    _dinov3("7b"),
    *(_dinov3(size, "lingbot", biased=True) for size in ("small", "base", "large")),
    _dinov3("giant", "lingbot"),
)
_TIPSV2 = tuple(_tipsv2(size) for size in ("base", "large", "so400m", "giant"))

ARCHITECTURES: dict[str, tuple[EncoderSpec, Normalization]] = {
    **{spec.architecture: (spec, HALF) for spec in (*_AUGREG, *_SIGLIP)},
    **{spec.architecture: (spec, CLIP) for spec in _EVA02},
    **{spec.architecture: (spec, IMAGENET) for spec in _OTHERS},
    **{spec.architecture: (spec, UNIT) for spec in _TIPSV2},
}
"""Name -> what to build, and the normalisation that most of its weights were trained with."""

_NORMALIZATION_OF_TAG = {
    "bamboo": CLIP,
    "dino": IMAGENET,
    "mae": IMAGENET,
    "sat493m": SATELLITE,
}
"""Suffix, in timm's names, of weights that were trained with another normalisation."""


def find_architecture(name: str) -> tuple[EncoderSpec, Normalization]:
    """Look an encoder up by timm's name, with or without the tag after the dot.

    Raises:
        UserError: If the name is not in `ARCHITECTURES`.
    """
    architecture, _, tag = name.partition(".")
    if architecture not in ARCHITECTURES:
        known = sorted(ARCHITECTURES)
        raise UserError(
            f"unknown encoder {name!r}{nearest(architecture, known)}; known: {', '.join(known)}"
        )
    spec, normalization = ARCHITECTURES[architecture]
    return spec, _NORMALIZATION_OF_TAG.get(tag, normalization)
