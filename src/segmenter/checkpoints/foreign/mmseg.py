"""Segmenters of MMSegmentation, 0.x and 1.x: `.pth`.

Sources: mmsegmentation `mmseg/models/backbones/vit.py`, `decode_heads/segmenter_mask_head.py`,
`decode_heads/fcn_head.py` and `configs/segmenter`. The config inside a file is Python source, and
is never looked at.
"""

from collections.abc import Mapping

from pydantic import ValidationError

from segmenter.checkpoints.foreign.family import Family, ForeignFile, ForeignModel
from segmenter.checkpoints.foreign.tensors import join_prefix, to_tensors
from segmenter.classes import Classes
from segmenter.classes.colors import distinct_colors
from segmenter.data.published import set_of_count
from segmenter.model.protocol import EvaluationProtocol, published_protocol
from segmenter.model.spec import EncoderSpec

_SHORT_SIDE = 512
_RULES = (
    (r"^(backbone|decode_head)\.layers\.", r"\1.blocks."),
    (r"\.ln([12])\.", r".norm\1."),
    (r"\.attn\.attn\.in_proj_", ".attention.qkv."),
    (r"\.attn\.attn\.out_proj\.", ".attention.project."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.expand."),
    (r"\.ffn\.layers\.1\.", ".mlp.reduce."),
    (r"^backbone\.norm1\.", "backbone.norm."),
    (r"^backbone\.patch_embed\.projection\.", "backbone.patch_embed."),
    (r"^backbone\.", "encoder."),
    (r"^decode_head\.cls_emb$", "decoder.class_tokens"),
    (r"^decode_head\.dec_proj\.", "decoder.project_in."),
    (r"^decode_head\.patch_proj\.", "decoder.project_patches."),
    (r"^decode_head\.classes_proj\.", "decoder.project_classes."),
    (r"^decode_head\.decoder_norm\.", "decoder.norm."),
    (r"^decode_head\.mask_norm\.", "decoder.norm_logits."),
    (r"^decode_head\.conv_seg\.", "decoder.project."),
    (r"^decode_head\.", "decoder."),
)


MMSEG = Family(
    name="MMSegmentation",
    origin="the MMSegmentation checkpoint {}",
    marks=frozenset({"backbone.patch_embed.projection.weight", "backbone.ln1.weight"}),
    heads=("decode_head.cls_emb", "decode_head.conv_seg.weight"),
    # `ema_` is how mmcv's EMAHook keeps the other set of weights; the plain names are the model.
    dropped=r"auxiliary_head\.|ema_",
    rules=_RULES,
    encoder={"layer_norm_eps": 1e-6, "table_resize": "bicubic", "drop_path": 0.1},
    decoder={"layer_norm_eps": 1e-5, "drop_path": 0.1},
    size_policy="pad-squeeze",
)


def read_mmseg(file: ForeignFile) -> ForeignModel:
    """Turn the `state_dict` and `meta` of a file into a model of ours.

    Raises:
        UserError: If it is not a whole Segmenter, or classes of another number are given.
    """
    tensors, dropped = MMSEG.rename(to_tensors(file.state, file.path))
    tensors = join_prefix(tensors, str(file.path))
    linear = tensors.get("decoder.project.weight")
    if linear is not None and linear.ndim == 4 and linear.shape[2:] == (1, 1):
        tensors["decoder.project.weight"] = linear[:, :, 0, 0]  # a convolution of one pixel
    meta = file.content.get("meta")
    return MMSEG.make_model(
        file,
        tensors,
        dropped,
        lambda encoder, _count: _protocol(encoder),
        lambda count: _listed_classes(meta, count),
    )


def _protocol(encoder: EncoderSpec) -> EvaluationProtocol:
    """Windows of the training size, which is that of the position table."""
    rows = encoder.table_grid[0] if encoder.table_grid else 1
    window = rows * encoder.patch_size
    return published_protocol("mmseg", window=window, short_side=max(_SHORT_SIDE, window))


def _listed_classes(meta: object, num_classes: int) -> Classes | None:
    """Return names and colours that the file brings: `CLASSES` in 0.x, `dataset_meta` in 1.x."""
    if not isinstance(meta, Mapping):
        return None
    lists = meta.get("dataset_meta", meta)
    if not isinstance(lists, Mapping):
        return None
    names = lists.get("classes", lists.get("CLASSES"))
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    if len(names) != num_classes:
        return None
    names = [name.strip() for name in names]
    known = set_of_count(len(names))
    if known is not None and list(known.classes().names) == names:
        return known.classes()  # it also knows the mask values
    colors = lists.get("palette", lists.get("PALETTE"))
    if not isinstance(colors, list | tuple) or len(colors) != len(names):
        colors = distinct_colors(len(names)).tolist()
    infos = [
        {"name": name, "color": color, "values": (index,)}
        for index, (name, color) in enumerate(zip(names, colors, strict=True))
    ]
    try:
        return Classes.model_validate(
            {"classes": infos, "ignore": (255,) if len(names) <= 255 else ()}
        )
    except ValidationError:
        return None
