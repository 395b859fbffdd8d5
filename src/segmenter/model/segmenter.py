"""Segmenter: image -> patch tokens -> a class for each pixel (paper, figure 2)."""

from typing import cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.image_spec import HIGHEST_LEVEL, LOWEST_LEVEL
from segmenter.model.decoders.decoder import QueryPrediction, build_decoder
from segmenter.model.encoder import Encoder, Grid, is_exporting
from segmenter.model.mask_scores import MaskScores
from segmenter.model.spec import ModelSpec

ImageSize = tuple[int, int]
"""Height and width, in pixels."""


class Segmenter(nn.Module):
    """A ViT encoder and a decoder, built from `spec` with random weights.

    Strudel, Garcia, Laptev, Schmid, "Segmenter: Transformer for Semantic Segmentation", ICCV 2021.

    Example:
        model = segmenter.load("street")  # in eval mode
        logits = model(model.normalize(images))  # uint8 (1, 3, 480, 640) -> (1, 11, 480, 640)
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    gain: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec.encoder)
        self.decoder = build_decoder(spec.decoder, spec.encoder, len(spec.classes.classes))
        # Part of the spec, not weights: they have values even where weights are on the meta device.
        for name in ("mean", "std"):
            numbers = getattr(spec.normalization, name)
            values = torch.tensor(numbers, dtype=torch.float32, device="cpu")
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)
        if spec.image is not None:
            for name, values in zip(("low", "gain"), spec.image.scale(), strict=True):
                scale = torch.tensor(values, device="cpu").view(1, -1, 1, 1)
                self.register_buffer(name, scale, persistent=False)

    @property
    def drop_rates(self) -> list[float]:
        """Stochastic depth of each residual branch, in the order of `drop_path_scales`."""
        return [*self.encoder.drop_rates, *self.decoder.drop_rates]

    def normalize(
        self, images: Shaped[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalise pixel values with the mean and std of the spec, on the scale 0 to 255.

        Values of other images than RGB of 8 bits are first brought to that scale; see `ImageSpec`.
        """
        levels = images.float()
        if self.spec.image is not None:
            levels = stretch(levels, self.low, self.gain)
        return (levels - self.mean) / self.std

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes height width"]:
        """Score every class at every pixel of normalised images.

        Args:
            images: Normalised images of any height and width; see `normalize`.
            drop_path_scales: For training: 0 or 1 / (1 - rate) for each residual branch and image,
                `drop_rates` holding the rates (stochastic depth).
        """
        features, grid = self.encode(self.pad(images), drop_path_scales)
        logits = self.decode(features, grid, drop_path_scales)
        return self.upsample(logits, (images.shape[2], images.shape[3]))

    def patch_logits(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score every class at every patch of normalised images: `forward` without upsampling.

        A decoder may give each patch several rows and columns of logits.
        """
        return self.decode(*self.encode(self.pad(images)))

    def mask_scores(self, images: Float[Tensor, "batch channels height width"]) -> MaskScores:
        """Return what the scores of `patch_logits` are summed from; see `ModelSpec`.

        It needs a spec that `classifies_masks`.
        """
        return self.decoder.mask_scores(*self.encode(self.pad(images)))

    def encode(
        self,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], Grid]:
        """Encode normalised and padded images into the features that `decode` takes.

        Returns:
            Features of the patches, row by row; and the rows and columns of the patches.
        """
        if drop_path_scales is not None:
            drop_path_scales = drop_path_scales[: len(self.encoder.drop_rates)]
        return self.decoder.encode(self.encoder, images, drop_path_scales)

    def feature_maps(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features rows columns"]:
        """Return the features of patches of normalised images, without those of class tokens."""
        features, grid = self.encode(self.pad(images))
        return features[:, : grid[0] * grid[1]].transpose(1, 2).unflatten(2, grid)

    def decode(
        self,
        features: Float[Tensor, "batch tokens features"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score every class at every patch, from what `encode` returned.

        Where the spec has a background, it is channel 0 with a logit of 0 everywhere: a softmax
        over 0 and the logit of the one class is that logit's sigmoid.
        """
        if drop_path_scales is not None:
            drop_path_scales = drop_path_scales[len(self.encoder.drop_rates) :]
        return self._with_background(self.decoder(features, grid, drop_path_scales))

    def predictions(
        self,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], list[QueryPrediction]]:
        """Encode normalised and padded images in training; see `Decoder.predictions`."""
        if drop_path_scales is not None:
            drop_path_scales = drop_path_scales[: len(self.encoder.drop_rates)]
        return self.decoder.predictions(self.encoder, images, drop_path_scales)

    def decode_prediction(
        self, prediction: QueryPrediction
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score every class at every patch from the final prediction, as `decode` does."""
        return self._with_background(self.decoder.scores(prediction))

    def image_share(self, prediction: QueryPrediction, size: ImageSize) -> tuple[float, float]:
        """Return the share of masks' height and width that an image fills; the rest is padding."""
        cells = self.spec.decoder.logits_per_patch_side
        height, width = (
            length / self.spec.upsampled_length(patches * cells, length)
            for patches, length in zip(self.decoder.grid_of(prediction), size, strict=True)
        )
        return height, width

    def _with_background(
        self, logits: Float[Tensor, "batch classes rows columns"]
    ) -> Float[Tensor, "batch _ rows columns"]:
        """Put the background before the one class, where the spec has one."""
        if self.spec.classes.background:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits

    def upsample(
        self, logits: Float[Tensor, "batch classes rows columns"], size: ImageSize
    ) -> Float[Tensor, "batch classes height width"]:
        """Resize patch logits bilinearly to the size of their image."""
        height, width = size
        whole = (
            self.spec.upsampled_length(logits.shape[2], height),
            self.spec.upsampled_length(logits.shape[3], width),
        )
        full = F.interpolate(logits, whole, mode="bilinear", align_corners=False)
        return full[:, :, :height, :width]

    def pad(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels padded_height padded_width"]:
        """Pad with zeros to whole patches, by default right and below; see `size_policy`."""
        patch = self.spec.encoder.patch_size
        height, width = images.shape[2:]
        if self.spec.size_policy == "stretch":
            # `max` that can be exported
            down, right = (cast(int, torch.sym_max(patch - side, 0)) for side in (height, width))
        else:
            down, right = -height % patch, -width % patch
        if not is_exporting() and not down and not right:
            return images
        if self.spec.size_policy == "center-squeeze":
            left, top = right // 2, down // 2
            return F.pad(images, (left, right - left, top, down - top))
        return F.pad(images, (0, right, 0, down))


def stretch(
    values: Float[Tensor, "batch channels height width"],
    low: Float[Tensor, "1 channels 1 1"],
    gain: Float[Tensor, "1 channels 1 1"],
) -> Float[Tensor, "batch channels height width"]:
    """Bring values to levels, as `ImageSpec.stretch` does."""
    return ((values - low) * gain).clamp(LOWEST_LEVEL, HIGHEST_LEVEL)


def normalize(
    images: Float[Tensor, "batch channels height width"], spec: ModelSpec
) -> Float[Tensor, "batch channels height width"]:
    """Normalise pixel values on the CPU as `Segmenter.normalize` does, without a model."""
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1)
        for values in (spec.normalization.mean, spec.normalization.std)
    )
    if spec.image is not None:
        low, gain = (torch.from_numpy(each).view(1, -1, 1, 1) for each in spec.image.scale())
        images = stretch(images, low, gain)
    return (images - mean) / std
