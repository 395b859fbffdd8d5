"""Tokens of images: the features of a frozen encoder, computed once and kept on the disk.

A pixel has the features that the model would see there: those of the patches around it, bilinearly
interpolated, and averaged where windows overlap. Both are linear, as is the decoder, so a
classifier that is fitted to these features scores pixels exactly as the model does.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Integer, Shaped
from numpy import ndarray
from torch import Tensor

from segmenter.data.decoding.decode import decode_image
from segmenter.errors import UserError
from segmenter.files.cache import cached, token_folder
from segmenter.inference.image_inputs import read_input
from segmenter.inference.interpolation import AxisMap
from segmenter.inference.row_bands import patch_axes, patch_features
from segmenter.inference.work import check_work
from segmenter.model import ModelSpec, Segmenter
from segmenter.model.segmenter import ImageSize
from segmenter.runtimes.features import FeatureRuntime, TorchFeatures, encoder_key

MAX_BYTES = 8 << 30
"""Bytes of all tokens that are kept on the disk: some thousand images."""
_MAX_ENTRY = 1 << 30
_HEADER = np.dtype("<u4")
"""Numbers before the tokens of an entry: rows, columns, channels, and the image's size."""


@dataclass(frozen=True)
class ImageTokens:
    """The tokens of an image."""

    grid: Float16[ndarray, "rows columns dim"]
    """One for each patch, row by row; patches of several windows lie side by side."""
    size: ImageSize
    """Height and width of the upright image, in pixels."""
    spec: ModelSpec
    """Spec of the model that computed them."""

    @property
    def dim(self) -> int:
        """The number of features."""
        return self.grid.shape[2]

    @cached_property
    def axes(self) -> tuple[AxisMap, AxisMap]:
        """Return how rows and columns of the grid form those of the image."""
        shape = self.grid.shape[0], self.grid.shape[1]
        return patch_axes(self.size, self.spec.protocol, shape, self.spec.upsampled_length)

    def at(
        self, rows: Integer[ndarray, " pixels"], columns: Integer[ndarray, " pixels"]
    ) -> Float32[ndarray, "pixels dim"]:
        """Return the features at some pixels of the image."""
        down, across = self.axes
        grid = torch.from_numpy(self.grid)
        total = torch.zeros(len(rows), self.dim)
        for down_tap in range(down.indices.shape[1]):
            for across_tap in range(across.indices.shape[1]):
                weights = down.weights[rows, down_tap] * across.weights[columns, across_tap]
                patches = grid[down.indices[rows, down_tap], across.indices[columns, across_tap]]
                total += patches.float() * torch.from_numpy(weights).float()[:, None]
        return total.numpy()

    def resampled(self, rows: int, columns: int) -> Float32[ndarray, "rows columns dim"]:
        """Return the features at the centres of a regular grid of cells over the image."""
        centres = [
            ((np.arange(count) + 0.5) * side / count).astype(np.int64)
            for count, side in zip((rows, columns), self.size, strict=True)
        ]
        down, across = np.meshgrid(*centres, indexing="ij")
        return self.at(down.ravel(), across.ravel()).reshape(rows, columns, self.dim)


class TokenStore:
    """Compute the tokens of images with a model's encoder, or read them from the cache.

    Tokens are kept by the content of the image, the encoder, the precision, and the size at which
    the image is shown.

    Args:
        model: Its protocol says how an image is shown, its decoder which blocks are used.
        folder: Gives the folder in which tokens are kept.
        max_bytes: Bytes that they may have together; those used longest ago go first.
        runtime: Computes them for this model; if None, torch in float32.

    Example:
        store = TokenStore(model, runtime=feature_runtime(model))
        tokens = store.read(Path("photo.jpg"))
    """

    def __init__(
        self,
        model: Segmenter,
        folder: Callable[[], Path] = token_folder,
        max_bytes: int = MAX_BYTES,
        runtime: FeatureRuntime | None = None,
    ) -> None:
        model.spec.require_files()
        self.model = model.eval()
        self.runtime = runtime or TorchFeatures(model)
        self._folder, self._max_bytes = folder, max_bytes
        self._device = next(model.parameters()).device
        self._lock = Lock()  # one image at a time
        self._key = _key(model, self.runtime.precision)

    def read(self, path: Path) -> ImageTokens:
        """Return the tokens of an image file.

        Raises:
            UserError: If the image cannot be read, or is too large for the memory.
        """
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        key = json.dumps([self._key, content])
        with self._lock:
            return cached(
                key,
                lambda: _to_bytes(self.compute(self._decode(path, content))),
                self._from_bytes,
                max_bytes=_MAX_ENTRY,
                folder=self._folder,
                max_folder=self._max_bytes,
            )

    def compute(self, image: Shaped[ndarray, "height width *channels"]) -> ImageTokens:
        """Return the tokens of an image in memory; nothing is kept.

        Raises:
            UserError: If the image is not one for this model, or too large for the memory.
        """
        spec = self.model.spec
        pixels = read_input(image, spec.encoder.in_channels, wanted=spec.image)
        size = pixels.shape[0], pixels.shape[1]
        if min(size) < 1:
            raise UserError("an image without pixels has no tokens")
        check_work(size, spec.protocol, spec, self._device)
        features = patch_features(pixels, spec.protocol, self._encode)
        return ImageTokens(features.half().cpu().numpy(), size, spec)

    def _encode(
        self, windows: Shaped[ndarray, "windows height width channels"]
    ) -> Float[Tensor, "windows dim rows columns"]:
        """Encode windows with the values of files, one after the other."""
        pixels = torch.from_numpy(windows).permute(0, 3, 1, 2)
        return torch.cat([self.runtime(pixels[each : each + 1]) for each in range(len(pixels))])

    def _decode(self, path: Path, content: str) -> ndarray:
        """Read an image whose content was read before."""
        spec = self.model.spec
        image = decode_image(path, image_bits=spec.classes.image_bits, image=spec.image)
        if hashlib.sha256(path.read_bytes()).hexdigest() != content:
            raise UserError(f"{path} was changed while it was read; try again")
        return image

    def _from_bytes(self, content: bytes) -> ImageTokens:
        """Return the tokens of an entry.

        Raises:
            ValueError: If it holds no tokens of this encoder.
        """
        header = np.frombuffer(content, _HEADER, count=5)
        rows, columns, dim, height, width = header.tolist()
        grid = np.frombuffer(content, "<f2", offset=header.nbytes).reshape(rows, columns, dim)
        spec = self.model.spec
        if dim != spec.encoder.embed_dim * len(self.model.decoder.out_indices):
            raise ValueError("tokens of another encoder")
        return ImageTokens(grid.astype(np.float16), (height, width), spec)


def _to_bytes(tokens: ImageTokens) -> bytes:
    header = np.array([*tokens.grid.shape, *tokens.size], dtype=_HEADER)
    return header.tobytes() + np.ascontiguousarray(tokens.grid, dtype="<f2").tobytes()


def _key(model: Segmenter, precision: str) -> list[object]:
    """Return everything that the tokens of an image depend on, except the image."""
    protocol = model.spec.protocol.model_dump(
        mode="json",
        include={
            "short_side",
            "max_ratio",
            "window",
            "stride",
            "resize_dtype",
            "rounding",
            "small_image",
            "scales_of",
            "resize_filter",
            "spacing",
        },
    )
    return ["tokens 2", encoder_key(model), precision, protocol, model.spec.classes.image_bits]
