"""Segmenter: image -> patch tokens -> a class for each pixel (paper, figure 2)."""

from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.model.decoders import make_decoder
from segmenter.model.encoder import Encoder, Grid
from segmenter.model.spec import ModelSpec

ImageSize = tuple[int, int]
"""Height and width, in pixels."""


class Segmenter(nn.Module):
    """A ViT encoder and a decoder, put together as `spec` says; weights start at random."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec.encoder)
        num_logits = len(spec.classes.classes)
        self.decoder = make_decoder(spec.decoder, num_logits, spec.encoder.embed_dim)

    @property
    def drop_rates(self) -> list[float]:
        """Stochastic depth of each residual branch, in the order of `branch_scales`."""
        return [*self.encoder.drop_rates, *self.decoder.drop_rates]

    def normalize(
        self, images: Shaped[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Bring pixel values of 0 to 255 to what the encoder was trained on."""
        normalization = self.spec.normalization
        mean = torch.tensor(normalization.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(normalization.std, device=images.device).view(1, -1, 1, 1)
        return (images.float() - mean) / std

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        branch_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes height width"]:
        """Score every class at every pixel of normalised images.

        Args:
            images: Any height and width; see `normalize`.
            branch_scales: For training: 0 or 1 / (1 - rate) for each residual branch and image,
                `drop_rates` holding the rates (stochastic depth).
        """
        logits = self.patch_logits(images, branch_scales)
        return self.upsample(logits, (images.shape[2], images.shape[3]))

    def patch_logits(
        self,
        images: Float[Tensor, "batch channels height width"],
        branch_scales: Float[Tensor, "branches batch"] | None = None,
        merge_tokens: float | None = None,
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score every class at every patch: what `forward` gives before it is upsampled.

        Decoders with cells score each patch in that many rows and columns. `merge_tokens`, for one
        image at a time, is the encoder's.

        A background is no class: its logit is 0 everywhere. A softmax over 0 and the logit of the
        one class is that logit's sigmoid, and cross entropy over them is binary cross entropy.
        """
        tokens, grid = self.encode(images, branch_scales, merge_tokens)
        return self.decode(tokens, grid, branch_scales)

    def encode(
        self,
        images: Float[Tensor, "batch channels height width"],
        branch_scales: Float[Tensor, "branches batch"] | None = None,
        merge_tokens: float | None = None,
    ) -> tuple[Float[Tensor, "batch tokens read_channels"], Grid]:
        """Turn normalised images into what the decoder reads of them; see `Encoder.forward`."""
        scales = None if branch_scales is None else branch_scales[: len(self.encoder.drop_rates)]
        wants = self.decoder.num_read, self.decoder.guests, merge_tokens
        return self.encoder(self.fit_to_patches(images), scales, *wants)

    def decode(
        self,
        tokens: Float[Tensor, "batch tokens read_channels"],
        grid: Grid,
        branch_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score every class at every patch, from what `encode` gave."""
        scales = None if branch_scales is None else branch_scales[len(self.encoder.drop_rates) :]
        logits = self.decoder(tokens, grid, scales)
        if self.spec.classes.background:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits

    def upsample(
        self, logits: Float[Tensor, "batch classes rows columns"], size: ImageSize
    ) -> Float[Tensor, "batch classes height width"]:
        """Bring patch logits to the size of the image they were made from."""
        height, width = size
        whole = (
            self.spec.upsampled_length(logits.shape[2], height),
            self.spec.upsampled_length(logits.shape[3], width),
        )
        full = F.interpolate(logits, whole, mode="bilinear", align_corners=False)
        return full[:, :, :height, :width]

    def fit_to_patches(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels padded_height padded_width"]:
        """Pad with zeros right and below, to whole patches (`stretch`: to one patch at least)."""
        patch = self.spec.encoder.patch_size
        height, width = images.shape[2:]
        if self.spec.fit == "stretch":
            # `max`, which can also be exported
            down, right = (cast(int, torch.sym_max(patch - side, 0)) for side in (height, width))
        else:
            down, right = -height % patch, -width % patch
        if not torch.compiler.is_exporting() and not down and not right:
            return images
        return F.pad(images, (0, right, 0, down))
