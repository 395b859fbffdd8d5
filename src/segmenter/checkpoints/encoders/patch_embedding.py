"""A patch embedding made for other channels, or another patch, than the encoder's."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segmenter.model.spec import EncoderSpec

_MAX_SIDE = 128  # of patches, in pixels; what a file claims beyond it is not a patch


def fit_patch_embedding(weight: Tensor, spec: EncoderSpec) -> Tensor:
    """Bring the weight of a patch embedding to the channels and the patch size of an encoder.

    What is not a patch embedding stays as it is.
    """
    is_whole = weight.ndim == 4 and weight.numel() and weight.shape[2] == weight.shape[3]
    if not is_whole or max(weight.shape[2], spec.patch_size) > _MAX_SIDE:
        return weight
    return resize_patch_embedding(
        inflate_patch_embedding(weight, spec.in_channels), spec.patch_size
    )


def tell_resize(weight: Tensor | None, spec: EncoderSpec) -> str:
    """Describe a patch embedding that `fit_patch_embedding` resized; empty if it did not."""
    if weight is None or weight.ndim != 4 or weight.shape[2] == spec.patch_size:
        return ""
    return f"; its patches of {weight.shape[2]} pixels are resized to {spec.patch_size}"


def inflate_patch_embedding(
    weight: Float[Tensor, "dim channels side side"], in_channels: int
) -> Float[Tensor, "dim in_channels side side"]:
    """Fit an RGB patch embedding to other channels: repeat R, G, B and keep the response's size."""
    channels = weight.shape[1]
    if channels == in_channels:
        return weight
    return weight[:, torch.arange(in_channels) % channels] * (channels / in_channels)


def resize_patch_embedding(
    weight: Float[Tensor, "dim channels old old"], side: int
) -> Float[Tensor, "dim channels new new"]:
    """Fit a patch embedding to patches of `side` pixels, so that it answers resized ones alike.

    FlexiViT (Beyer et al. 2023, section 3.4): if R resizes patches, the new weight w' is the one
    for which <R x, w'> is nearest to <x, w> over all patches x; equal if patches grow. R is
    bicubic with smoothing, and acts on rows and columns one after the other.
    """
    old = weight.shape[2]
    if old == side:
        return weight
    identity = torch.eye(old, dtype=torch.float64)[None, None]
    resize = F.interpolate(
        identity, (side, old), mode="bicubic", antialias=True, align_corners=False
    )[0, 0]
    answer = torch.linalg.pinv(resize.T)
    return (answer @ weight.double().cpu() @ answer.T).to(weight)
