"""Segmenters of the paper's own code (rstrudel/segmenter): `checkpoint.pth` and `variant.yml`.

Sources: rstrudel/segmenter `segm/model/vit.py`, `segm/model/decoder.py`, `segm/model/factory.py`,
`segm/config.yml`, `segm/data/utils.py`.
"""

from collections.abc import Mapping
from pathlib import Path

from segmenter.checkpoints.foreign.family import (
    TIMM_BLOCK,
    Published,
    Tensors,
    choose_classes,
    describe,
    join_prefix,
    rename,
    split_off,
    to_tensors,
    whole_spec,
)
from segmenter.checkpoints.foreign.rstrudel.variant import (
    DATA_SETS,
    VARIANT_NAME,
    Variant,
    read_variant,
)
from segmenter.classes import Classes
from segmenter.data.published import set_of_count
from segmenter.errors import UserError
from segmenter.model.architectures import HALF, IMAGENET_ROUNDED
from segmenter.model.protocol import Protocol, published_protocol
from segmenter.numbers import HEAD_DIM

_ENCODER = {"layer_norm_eps": 1e-5, "table_resize": "bilinear"}
_DECODER = {"layer_norm_eps": 1e-5, "projection_init": "scaled-normal"}
_MAX_RATIO = 4.0
"""Of scored images of a data set that is not known."""
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


def is_rstrudel(state: Mapping[str, object]) -> bool:
    """Whether a table of weights is a Segmenter of the paper's code."""
    heads = ("decoder.cls_emb", "decoder.head.weight")
    return "encoder.patch_embed.proj.weight" in state and any(head in state for head in heads)


def read_rstrudel(
    state: Mapping[str, object], path: Path, classes: Classes | None, variant: Variant | None
) -> Published:
    """Turn the `model` table of a `checkpoint.pth` into a model of ours.

    Args:
        state: The table.
        path: The file; `variant.yml` is looked for beside it.
        classes: Instead of those of the data set.
        variant: Instead of `variant.yml`.

    Raises:
        UserError: If `variant.yml` is missing, or it is no whole Segmenter.
    """
    source = str(path)
    variant = variant or _variant_beside(path)
    tensors, dropped = split_off(to_tensors(state, path), r"encoder\.(head|head_dist|pre_logits)\.")
    tensors = rename(tensors, _RULES)
    for name in ("decoder.project_patches.weight", "decoder.project_classes.weight"):
        if name in tensors and tensors[name].ndim == 2:
            tensors[name] = tensors[name].T  # used there as `tokens @ matrix`
    tensors = join_prefix(tensors, source, _grid(variant, tensors))
    encoder, decoder, count = describe(
        tensors,
        source,
        encoder=_ENCODER | {"drop_path": variant.drop_path},
        decoder=_DECODER | {"drop_path": variant.decoder_drop_path, "dropout": variant.dropout},
    )
    if variant.num_heads not in (None, encoder.embed_dim // HEAD_DIM):
        raise UserError(
            f"{source}: variant.yml says {variant.num_heads} heads for a width of "
            f"{encoder.embed_dim}; only heads of {HEAD_DIM} channels are known"
        )
    chosen, notes = choose_classes(count, classes, _listed_classes(variant, count), source)
    spec = whole_spec(
        source,
        encoder=encoder,
        decoder=decoder,
        fit="pad-crop",
        classes=chosen,
        normalization=HALF if variant.normalization == "vit" else IMAGENET_ROUNDED,
        protocol=_protocol(variant, count, source),
        provenance=f"imported from the checkpoint {path.name} of the paper's own code",
    )
    return Published("rstrudel/segmenter", spec, tensors, dropped, notes)


def _variant_beside(path: Path) -> Variant:
    beside = path.parent / VARIANT_NAME
    if not beside.is_file():
        raise UserError(
            f"{path} is a checkpoint of the paper's code, and the {VARIANT_NAME} that belongs "
            f"beside it is missing: it says the normalisation and the sliding window; give "
            "`segmenter convert` --variant FILE, or --normalization vit|deit, --window and "
            "--stride in its place"
        )
    return read_variant(beside)


def _grid(variant: Variant, tensors: Tensors) -> tuple[int, int] | None:
    """Rows and columns of the position table, where the image size is said."""
    weight = tensors.get("encoder.patch_embed.weight")
    if variant.image_size is None or weight is None or weight.ndim != 4 or weight.shape[2] == 0:
        return None
    height, width = variant.image_size
    return height // weight.shape[2], width // weight.shape[2]


def _listed_classes(variant: Variant, num_classes: int) -> Classes | None:
    """The classes of the data set that is named, if there are so many."""
    if variant.data_set not in DATA_SETS:
        return None
    listed = DATA_SETS[variant.data_set].classes()
    return listed if len(listed) == num_classes else None


def _protocol(variant: Variant, num_classes: int, source: str) -> Protocol:
    """The paper's: images at the data set's short side, windows and stride of the file."""
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
