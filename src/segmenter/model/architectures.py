"""The plain ViTs that can be built by name, with the numbers behind each name.

Names are timm's, so that `timm:NAME` finds the weights. A name without a tag is the architecture.
"""

from segmenter.errors import UserError
from segmenter.model.spec import EncoderSpec, Normalization
from segmenter.validation import nearest

_WIDTH_DEPTH = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12), "large": (1024, 24)}

HALF = Normalization(mean=(127.5,) * 3, std=(127.5,) * 3)
"""AugReg's: 0 to 255 becomes -1 to 1."""
IMAGENET = Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
IMAGENET_ROUNDED = Normalization(mean=(123.68, 116.28, 103.53), std=(58.40, 57.12, 57.38))
"""As the paper's code has it, on 0 to 255."""


def _vit(size: str, patch: int, image: int, **details: object) -> EncoderSpec:
    width, depth = _WIDTH_DEPTH[size]
    fields = {
        "architecture": f"vit_{size}_patch{patch}_{image}",
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "table_grid": (image // patch, image // patch),
    }
    return EncoderSpec.model_validate(fields | details)


def _deit(size: str, *, distilled: bool) -> EncoderSpec:
    middle = "_distilled" if distilled else ""
    name = f"deit_{size}{middle}_patch16_384"
    return _vit(size, 16, 384, architecture=name, num_prefix_tokens=2 if distilled else 1)


def _dinov2(size: str, *, registers: bool) -> EncoderSpec:
    middle = "_reg4" if registers else ""
    return _vit(
        size,
        14,
        518,
        architecture=f"vit_{size}_patch14{middle}_dinov2",
        num_prefix_tokens=5 if registers else 1,
        prefix_positions=not registers,
        layer_scale=True,
    )


def _dinov3(size: str) -> EncoderSpec:
    return _vit(
        size,
        16,
        256,
        architecture=f"vit_{size}_patch16_dinov3",
        num_prefix_tokens=5,
        position="rotary",
        table_grid=None,
        prefix_positions=False,
        layer_norm_eps=1e-5,
        layer_scale=True,
        qkv_bias=False,
    )


_AUGREG = (
    *(_vit(size, 16, image) for size in ("tiny", "small", "base", "large") for image in (224, 384)),
    *(_vit(size, 32, image) for size in ("small", "base") for image in (224, 384)),
    _vit("large", 32, 384),
    _vit("small", 8, 224),
    _vit("base", 8, 224),
)
_OTHERS = (
    _deit("base", distilled=False),
    _deit("base", distilled=True),
    *(_dinov2(size, registers=reg) for size in ("small", "base", "large") for reg in (False, True)),
    *(_dinov3(size) for size in ("small", "base", "large")),
)

ARCHITECTURES: dict[str, tuple[EncoderSpec, Normalization]] = {
    **{spec.architecture: (spec, HALF) for spec in _AUGREG},
    **{spec.architecture: (spec, IMAGENET) for spec in _OTHERS},
}
"""Name -> what to build, and the normalisation its weights were trained with."""


def find_architecture(name: str) -> tuple[EncoderSpec, Normalization]:
    """Look an encoder up by timm's name, with or without the tag after the dot.

    Raises:
        UserError: If the name is not in `ARCHITECTURES`.
    """
    architecture = name.split(".")[0]
    if architecture not in ARCHITECTURES:
        known = sorted(ARCHITECTURES)
        raise UserError(
            f"unknown encoder {name!r}{nearest(architecture, known)}; known: {', '.join(known)}"
        )
    return ARCHITECTURES[architecture]
