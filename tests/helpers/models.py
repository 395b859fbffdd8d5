"""Tiny models."""

import torch

from segmenter.classes import Classes
from segmenter.image_spec import ImageSpec
from segmenter.model import ModelSpec, Segmenter
from segmenter.model.decoders import (
    AttentionToMaskSpec,
    DecoderSpec,
    EoMTSpec,
    JoinedClassTokensSpec,
    LinearDecoderSpec,
    MaskTransformerSpec,
    MultiBlockLinearSpec,
    PlainMaskDecoderSpec,
)
from segmenter.model.spec import EncoderSpec, Normalization

DECODERS: dict[str, DecoderSpec] = {
    "linear": LinearDecoderSpec(),
    "mask": MaskTransformerSpec(dim=64),
    "multi-linear": MultiBlockLinearSpec(blocks=2),
    "atm": AttentionToMaskSpec(dim=64, blocks=2),
    "joined-class-tokens": JoinedClassTokensSpec(blocks=1, cells=2),
    "pmt": PlainMaskDecoderSpec(queries=5, blocks=1, features=2, doublings=1, cells=4),
    "eomt": EoMTSpec(queries=5, blocks=1, doublings=1, cells=4),
}

ROTARY = {"position": "rotary", "table_grid": None, "prefix_positions": False}
"""Fields of an encoder without a table of positions."""


def make_classes(count: int) -> Classes:
    """Classes 0 to count - 1, as grey mask values of the same number."""
    return Classes.model_validate(
        {
            "classes": [
                {"name": f"class-{i}", "color": [i % 256, 255 - i % 256, i // 256], "values": [i]}
                for i in range(count)
            ],
            "ignore": [] if count > 255 else [255],
        }
    )


def make_spec(
    num_classes: int = 3,
    *,
    decoder: str = "linear",
    patch_size: int = 16,
    size_policy: str = "pad-crop",
    **encoder: object,
) -> ModelSpec:
    """A tiny model's spec; `encoder` replaces single fields of the `EncoderSpec`."""
    fields = {
        "architecture": "tiny",
        "patch_size": patch_size,
        "embed_dim": 64,
        "depth": 2,
        "table_grid": (4, 4),
    }
    spec = EncoderSpec.model_validate(fields | encoder)
    return ModelSpec(
        encoder=spec,
        decoder=DECODERS[decoder],
        size_policy=size_policy,
        classes=make_classes(num_classes),
        normalization=Normalization(
            mean=(127.5,) * spec.in_channels, std=(127.5,) * spec.in_channels
        ),
    )


def make_band_spec(image: ImageSpec) -> ModelSpec:
    """A tiny model's spec for such images."""
    spec = make_spec(depth=1, in_channels=image.channels)
    return spec.model_copy(update={"classes": spec.classes.with_image(image)})


def decided(model: Segmenter) -> Segmenter:
    """Scale the last layer of a random model, so that its logits differ as a trained one's do."""
    with torch.no_grad():
        model.decoder.project.weight.mul_(20)
    return model


def one_class_model() -> Segmenter:
    """A random model of one class, value 2, against values 0 and 1; its logits differ."""
    classes = Classes.model_validate(
        {
            "classes": [{"name": "blue", "color": [0, 0, 255], "values": [2]}],
            "background": [0, 1],
        }
    )
    return decided(Segmenter(make_spec(1).model_copy(update={"classes": classes})).eval())
