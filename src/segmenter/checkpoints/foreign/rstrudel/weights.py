"""Segmenters of the paper's own code (rstrudel/segmenter): `checkpoint.pth` and `variant.yml`.

Sources: rstrudel/segmenter `segm/model/vit.py`, `segm/model/decoder.py`, `segm/model/factory.py`,
`segm/config.yml`, `segm/data/utils.py`.
"""

from dataclasses import replace
from pathlib import Path

from segmenter.checkpoints.foreign.family import Family, ForeignFile, ForeignModel
from segmenter.checkpoints.foreign.rstrudel.variant import (
    DATA_SETS,
    VARIANT_NAME,
    Variant,
    read_variant,
)
from segmenter.checkpoints.foreign.tensors import TIMM_BLOCK, Tensors, join_prefix, to_tensors
from segmenter.classes import Classes
from segmenter.data.published import set_of_count
from segmenter.errors import UserError
from segmenter.model.architectures import HALF, IMAGENET_ROUNDED
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from segmenter.numbers import HEAD_DIM

_MAX_RATIO = 4.0
"""Largest ratio of an image's sides, where the data set is unknown; see `max_ratio`."""
_RULES = (
    (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embed."),
    (r"^decoder\.head\.", "decoder.project."),
    (r"^decoder\.cls_emb$", "decoder.class_tokens"),
    (r"^decoder\.proj_dec\.", "decoder.project_in."),
    (r"^decoder\.proj_patch$", "decoder.project_patches.weight"),
    (r"^decoder\.proj_classes$", "decoder.project_classes.weight"),
    (r"^decoder\.decoder_norm\.", "decoder.norm."),
    (r"^decoder\.mask_norm\.", "decoder.norm_logits."),
    *TIMM_BLOCK,
)


RSTRUDEL = Family(
    name="rstrudel/segmenter",
    origin="the checkpoint {} of the paper's own code",
    marks=frozenset({"encoder.patch_embed.proj.weight"}),
    heads=("decoder.cls_emb", "decoder.head.weight"),
    dropped=r"encoder\.(head|head_dist|pre_logits)\.",
    rules=_RULES,
    encoder={"layer_norm_eps": 1e-5, "table_resize": "bilinear"},
    decoder={"layer_norm_eps": 1e-5, "projection_init": "scaled-normal"},
    size_policy="pad-crop",
)


def read_rstrudel(file: ForeignFile) -> ForeignModel:
    """Turn the `model` table of a `checkpoint.pth` into a model of ours.

    Args:
        file: The checkpoint; `variant.yml` is read from beside it, unless it brings a variant.

    Raises:
        UserError: If `variant.yml` is missing, or it is not a whole Segmenter.
    """
    source = str(file.path)
    known = file.variant or _variant_beside(file.path)
    tensors, dropped = RSTRUDEL.rename(to_tensors(file.state, file.path))
    for name in ("decoder.project_patches.weight", "decoder.project_classes.weight"):
        if name in tensors and tensors[name].ndim == 2:
            tensors[name] = tensors[name].T  # used there as `tokens @ matrix`
    found = _with_variant(known).make_model(
        file,
        join_prefix(tensors, source, _grid(known, tensors)),
        dropped,
        lambda _encoder, count: _protocol(known, count, source),
        lambda count: _listed_classes(known, count),
    )
    width = found.spec.encoder.embed_dim
    if known.num_heads not in (None, width // HEAD_DIM):
        raise UserError(
            f"{source}: variant.yml says {known.num_heads} heads for a width of {width}; only "
            f"heads of {HEAD_DIM} channels are known"
        )
    return found


def _with_variant(variant: Variant) -> Family:
    """Return the family, with what differs from file to file."""
    return replace(
        RSTRUDEL,
        encoder=RSTRUDEL.encoder | {"drop_path": variant.drop_path},
        decoder=RSTRUDEL.decoder
        | {"drop_path": variant.decoder_drop_path, "dropout": variant.dropout},
        normalization=HALF if variant.normalization == "vit" else IMAGENET_ROUNDED,
    )


def _variant_beside(path: Path) -> Variant:
    beside = path.parent / VARIANT_NAME
    if not beside.is_file():
        raise UserError(
            f"{path} is a checkpoint of the paper's code, and the {VARIANT_NAME} beside it "
            "is missing, which states normalisation and sliding window; give `segmenter convert` "
            "--variant FILE, or --normalization vit|deit, --window and --stride"
        )
    return read_variant(beside)


def _grid(variant: Variant, tensors: Tensors) -> tuple[int, int] | None:
    """Return rows and columns of the position table, where the image size is said."""
    weight = tensors.get("encoder.patch_embed.weight")
    if variant.image_size is None or weight is None or weight.ndim != 4 or weight.shape[2] == 0:
        return None
    height, width = variant.image_size
    return height // weight.shape[2], width // weight.shape[2]


def _listed_classes(variant: Variant, num_classes: int) -> Classes | None:
    """Return the classes of the data set that is named, if their number fits."""
    if variant.data_set not in DATA_SETS:
        return None
    listed = DATA_SETS[variant.data_set].classes()
    return listed if len(listed) == num_classes else None


def _protocol(variant: Variant, num_classes: int, source: str) -> EvaluationProtocol:
    """Return the paper's protocol: the data set's short side, windows and stride of the file."""
    if variant.data_set is None:  # flags in place of the file: the number of classes says it
        data_set = set_of_count(num_classes)
    else:
        data_set = DATA_SETS.get(variant.data_set)
    scoring = data_set.rstrudel if data_set else None
    try:
        return published_protocol(
            "segmenter",
            window=variant.window,
            stride=variant.stride,
            short_side=scoring.short_side if scoring else variant.window,
            max_ratio=scoring.max_ratio if scoring else _MAX_RATIO,
        )
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
