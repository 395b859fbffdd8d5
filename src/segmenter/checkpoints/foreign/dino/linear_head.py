"""Linear heads of DINOv2 and DINOv3: batch norm and one layer, on the features of some blocks.

Sources: facebookresearch/dinov2 `dinov2/eval/segmentation/models/decode_heads/linear_head.py`,
`dinov2/hub/backbones.py`, `notebooks/semantic_segmentation.ipynb`; facebookresearch/dinov3
`dinov3/eval/segmentation/{config,inference,transforms}.py` and `models/heads/linear_head.py`,
whose training writes heads without a backbone.
"""

from functools import partial
from typing import Any

import torch

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.dino.encoder import DinoEncoder
from segmenter.checkpoints.foreign.dino.named_encoder import read_base
from segmenter.checkpoints.foreign.family import (
    Family,
    ForeignFile,
    ForeignModel,
    choose_classes,
    describe_encoder,
    shape_of,
    whole_spec,
)
from segmenter.checkpoints.foreign.tensors import Tensors, to_tensors
from segmenter.errors import UserError
from segmenter.model.architectures import IMAGENET
from segmenter.model.decoders import MultiBlockLinearSpec
from segmenter.model.decoders.multi_block_linear import MANY_BATCHES
from segmenter.model.protocol import EvaluationProtocol

_EPS = 1e-5  # of torch's batch norm
_OFFSET = 0.1  # of a patch; `interpolate_offset` of `dinov2/hub/backbones.py`
_LAST_BLOCKS = (
    "the head takes {0} blocks, and the file does not state which: the last {0} are assumed "
    "(FOUR_LAST); a head that was trained on others, such as FOUR_EVEN_INTERVALS, is not read right"
)


def _family(name: str, norm: str, layer: str) -> Family:
    return Family(
        name=name,
        origin="the linear head {}",
        marks=frozenset({f"{norm}.running_mean"}),
        heads=(f"{layer}.weight",),
        dropped=r".*num_batches_tracked$",
        rules=(
            (rf"^{norm}\.", "norm."),
            (rf"^{layer}\.", "layer."),
        ),
        encoder={},
        decoder={},
        size_policy="center-squeeze",
        normalization=IMAGENET,
    )


_DINOV2, _DINOV3 = "linear head of DINOv2", "linear head of DINOv3"
_SEGMENTATION_MODEL = "segmentation_model.1"
HEADS = (
    _family(_DINOV2, "decode_head.bn", "decode_head.conv_seg"),
    _family(_DINOV3, "batchnorm_layer", "conv"),
    _family(_DINOV3, f"{_SEGMENTATION_MODEL}.batchnorm_layer", f"{_SEGMENTATION_MODEL}.conv"),
)
"""Layouts of heads, by their tensors."""


def read_linear_head(file: ForeignFile) -> ForeignModel:
    """Join the head of a file and the encoder that the user names.

    Raises:
        UserError: If no encoder is named, or it has not the channels that the head takes.
    """
    source = str(file.path)
    family = next(family for family in HEADS if family.matches(file.state))
    base = read_base(file, "a linear head")
    head, dropped = family.rename(to_tensors(file.state, file.path))
    model_file.check_dtypes(head, source)
    num_classes, channels, *_ = shape_of(head, source, "layer.weight", 4)
    blocks, left = divmod(channels, base.width)
    if left or not 1 <= blocks <= base.depth:
        raise UserError(
            f"{base.path} has {base.depth} blocks of {base.width} channels, and the head in "
            f"{source} takes {channels}; give the encoder that it was trained on"
        )
    tensors = base.tensors | _decoder(head, source)
    encoder = describe_encoder(tensors, source, _encoder_fields(base))
    classes, notes = choose_classes(num_classes, file.classes, None, source)
    is_multi_scale = family.name == _DINOV2 and blocks > 1
    protocol = partial(_protocol, family.name, is_multi_scale)
    spec = whole_spec(
        source,
        encoder=encoder,
        decoder=MultiBlockLinearSpec(blocks=blocks, spread="last" if blocks > 1 else "even"),
        size_policy=family.size_policy,
        classes=classes,
        normalization=family.normalization,
        protocol=protocol(640 if is_multi_scale else 512),
        provenance=f"imported from {family.origin.format(file.path.name)} and {base.path.name} "
        f"(SHA-256 {base.sha256})",
        license=base.license,
    )
    if family.name == _DINOV3 and blocks > 1:
        notes = (_LAST_BLOCKS.format(blocks), *notes)
    notes = (*base.identify(), *notes)
    unused = (name for name in head if not name.startswith(("norm.", "layer.")))
    return ForeignModel(family.name, spec, tensors, (*dropped, *unused), notes, windows=protocol)


def _encoder_fields(base: DinoEncoder) -> dict[str, Any]:
    """Describe the encoder; DINOv2's code shifts positions that it resizes, without registers."""
    is_shifted = base.fields["prefix_positions"]
    return base.fields | {"table_offset": _OFFSET} if is_shifted else base.fields


def _decoder(head: Tensors, source: str) -> Tensors:
    """Return the tensors of our decoder; gain and offset of the batch norm go into the layer."""
    weight = head["layer.weight"].flatten(1).double()
    for name in ("weight", "bias", "running_mean", "running_var"):
        if shape_of(head, source, f"norm.{name}", 1) != weight.shape[1:]:
            raise UserError(
                f"{source}: norm.{name} has another shape than the {weight.shape[1]} channels of "
                "the layer"
            )
    gain, offset = (head[f"norm.{name}"].double() for name in ("weight", "bias"))
    bias = head.get("layer.bias", torch.zeros(len(weight))).double()
    if bias.shape != weight.shape[:1]:
        raise UserError(
            f"{source}: the bias of the layer has shape {tuple(bias.shape)}, expected "
            f"{tuple(weight.shape[:1])}"
        )
    return {
        "decoder.norm.mean": head["norm.running_mean"],
        "decoder.norm.variance": head["norm.running_var"],
        "decoder.norm.num_batches": torch.tensor([MANY_BATCHES]),
        "decoder.project.weight": (weight * gain).float(),
        "decoder.project.bias": (bias + weight @ offset).float(),
    }


def _protocol(code_base: str, is_multi_scale: bool, side: int) -> EvaluationProtocol:
    """Return windows of this side at one scale; the published ones overlap by a third or a half.

    DINOv2 resizes images with OpenCV, and DINOv3 with Pillow.
    """
    return EvaluationProtocol(
        name="dino-linear",
        short_side=side,
        max_ratio=64.0,
        window=side,
        stride=max(side // 2 if is_multi_scale else side * 2 // 3, 1),
        resize_filter="bilinear" if code_base == _DINOV2 else "antialias",
        absent_classes="skip",
    )
