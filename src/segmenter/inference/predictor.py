"""Images in, label maps out, as a `Protocol` says: resized, through windows, mirrored, averaged."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt
from numpy import ndarray
from torch import Tensor

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.inference.enough_memory import enough_memory
from segmenter.inference.labels import (
    ViewLogits,
    band_confidence,
    band_labels,
    band_margins,
    band_probabilities,
)
from segmenter.inference.metric_decoding import DECODES, Decode, decode_probabilities
from segmenter.inference.protocols import change_protocol, find_protocol
from segmenter.inference.resizing import ImageRows, checked_image, view_sizes
from segmenter.inference.row_bands import Band, Rows, batch_size, image_bands, split_band
from segmenter.inference.work import check_work
from segmenter.model import ModelSpec, Protocol, Segmenter
from segmenter.runtimes.open import open_runtime
from segmenter.runtimes.runtime import Runtime

_NUMBERS_AT_ONCE = 1 << 24
"""Probabilities that `Predictor.rows` makes at once: 64 MiB."""


class Predictor:
    """Label images of any size.

    A model object is put into eval mode and stays there.

    Args:
        model: A model, the bundled name or path of one, an exported file, or a runtime that holds
            one already; `device`, `runtime`, `precision` and `merge_tokens` are then its own.
        protocol: How an image is fed to the model; none: as the model's own spec says. A name is
            that of a published code base: `segmenter`, `segmenter-miou`, `mmseg`, `paddleseg`.
        flip: Whether to look at the mirrored image too; none: as the protocol says.
        scales: Sizes to look at, relative to the protocol's; none: as the protocol says.
        device: Where to compute, such as `cpu` or `cuda:0`.
        runtime: What computes: `torch`, `torch-compile`, `openvino`, `onnxruntime`, or `auto`, the
            fastest that is installed (a model object stays in torch).
        precision: `float32`, the published numerics, or `bfloat16` for the matrix products; `auto`:
            bfloat16 where OpenVINO or a GPU has it natively.
        decode: Labels to give: `argmax`, the most probable; `iou` or `dice`, those expected to have
            the highest mean IoU or Dice in the image (`metric_decoding.py`).
        merge_tokens: Merge tokens whose cosine is above this, above 0 and at most 1, such as 0.8:
            faster, for labels that are nearly the same (`model/token_merging.py`). In torch
            alone, which `auto` then means.

    Raises:
        UserError: If any of these cannot be used.
    """

    def __init__(
        self,
        model: Segmenter | str | Path | Runtime,
        *,
        protocol: Protocol | str | None = None,
        flip: bool | None = None,
        scales: Sequence[float] | None = None,
        device: str | torch.device = "cpu",
        runtime: str = "auto",
        precision: str = "auto",
        decode: str = "argmax",
        merge_tokens: float | None = None,
    ) -> None:
        if decode not in DECODES:
            raise UserError(f"decode must be one of {', '.join(DECODES)}, got {decode!r}")
        self.decode: Decode = decode
        if isinstance(model, Segmenter | str | Path):
            model = open_runtime(model, runtime, precision, device, merge_tokens)
        if not isinstance(model, Runtime):
            raise UserError(f"a model is a Segmenter, a name or a path, got {type(model).__name__}")
        self.runtime: Runtime = model
        self.device = self.runtime.device
        self.model_seconds = 0.0
        """How long the model itself has run so far, without what is made of its logits."""
        self.around_pass: Callable[[], AbstractContextManager[object]] = nullcontext
        """Entered around each pass of windows through the model; may wait, or raise to give up."""
        changes = {} if flip is None else {"flip": flip}
        changes |= {} if scales is None else {"scales": scales}
        self.protocol = change_protocol(find_protocol(protocol, self.spec), changes)
        self.image_bits = self.classes.image_bits
        """Bits a sample that files are read with, if they have more than 8; none: each its own."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.runtime.spec

    @property
    def model(self) -> Segmenter:
        """The model in torch; where another runtime holds it, it is read for the first who asks."""
        return self.runtime.model

    @property
    def classes(self) -> Classes:
        """The classes that labels stand for."""
        return self.spec.classes

    @overload
    def __call__(self, image: ndarray) -> ndarray: ...
    @overload
    def __call__(self, image: Sequence[ndarray]) -> list[ndarray]: ...
    def __call__(self, image: ndarray | Sequence[ndarray]) -> ndarray | list[ndarray]:
        """Label every pixel of an image, or of each image in a list.

        Args:
            image: uint8 (height, width, channels), RGB for most models, 0 to 255; grey images may
                have two axes. Neighbours of one size in a list are computed together.

        Returns:
            The class index of each pixel, (height, width), uint8, or uint16 for more than 255
            classes; a list if a list was given.

        Raises:
            UserError: If `image` is anything else, or too large for the memory.
        """
        given = [*image] if isinstance(image, list | tuple) else [image]
        with enough_memory():
            labels = self._labels([self._checked(each) for each in given])
        return labels if isinstance(image, list | tuple) else labels[0]

    def labels_and_probabilities(
        self, image: ndarray
    ) -> tuple[UInt[ndarray, "height width"], Float[ndarray, "classes height width"]]:
        """The label map of an image and the probabilities behind it; see `__call__` for the image.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        probabilities = self.probabilities(image)
        with enough_memory():
            background = self.classes.background_index
            labels = decode_probabilities(probabilities, self.decode, background)
        return labels.astype(self.classes.label_dtype), probabilities

    @torch.inference_mode()
    def probabilities(self, image: ndarray) -> Float[ndarray, "classes height width"]:
        """Probability of each class at each pixel of an image; see `__call__` for the image.

        Where there is one class: of the background and of the class.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        image = self._checked(image)
        with enough_memory():
            found = np.empty((len(self.classes), *image.shape[:2]), dtype=np.float32)
            for band in self._bands([image]):
                (parts,) = band.parts
                softmax = self._averages_probabilities(parts)
                probabilities = band_probabilities(parts, softmax=softmax)
                found[:, band.rows] = probabilities[:, *band.inside]
        return found

    @torch.inference_mode()
    def confidence(self, image: ndarray) -> Float[ndarray, "height width"]:
        """Probability of the most probable class at each pixel of an image, 0 to 1.

        The same as the highest of `probabilities`, without memory for those of all classes.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        image = self._checked(image)
        with enough_memory():
            found = np.empty(image.shape[:2], dtype=np.float32)
            for band in self._bands([image]):
                (parts,) = band.parts
                softmax = self._averages_probabilities(parts)
                found[band.rows] = band_confidence(parts, softmax=softmax)[band.inside]
        return found

    def labels_and_margins(
        self, image: ndarray
    ) -> tuple[UInt[ndarray, "height width"], Float[ndarray, "height width"]]:
        """Label every pixel of an image, and say how sure that is; see `__call__` for the image.

        Returns:
            The label map, and by how much the best class is more probable than the second at each
            pixel: from 0, a tie, to 1.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        size = self._checked(image).shape[:2]
        labels = np.empty(size, dtype=self.classes.label_dtype)
        margins = np.empty(size, dtype=np.float32)
        for found in self.rows(image, margins=True):
            labels[found.rows], margins[found.rows] = found.labels, found.margins
        return labels, margins

    def label_rows(self, image: ImageRows) -> Iterator[tuple[slice, UInt[ndarray, "rows width"]]]:
        """Label an image of any size from top to bottom, in bands of rows.

        Args:
            image: An array as for `__call__`, or what reads rows of one as they are asked for.

        Returns:
            Rows of the image, and their labels; together all rows, each once.

        Raises:
            UserError: If the labels of a pixel are to depend on all others.
        """
        if self.decode != "argmax":
            raise UserError(f"decode {self.decode!r} needs an image whole; rows take 'argmax'")
        bands = self._bands([image])
        while True:
            # Neither is held while the caller's code runs.
            with torch.inference_mode(), enough_memory():
                band = next(bands, None)
                if band is None:
                    return
                (labels,) = self._band_labels(band)
            yield band.rows, labels

    @torch.inference_mode()
    def rows(
        self, image: ndarray, *, margins: bool = False, probabilities: bool = False
    ) -> Iterator[Rows]:
        """Label an image, and give more than labels, some rows at a time.

        Args:
            image: As for `__call__`.
            margins: Whether margins are wanted.
            probabilities: Whether probabilities are wanted.

        Returns:
            All rows of the image, each once, from top to bottom.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        if self.decode != "argmax":  # labels depend on all pixels
            yield self._all_rows(image)
            return
        dtype = self.classes.label_dtype
        with enough_memory():
            for band in self._bands([self._checked(image)]):
                (labels,) = self._band_labels(band)
                for thin in split_band(band, _NUMBERS_AT_ONCE):
                    (parts,) = thin.parts
                    softmax = self._averages_probabilities(parts)
                    found = band_probabilities(parts, softmax=softmax) if probabilities else None
                    sure = band_margins(parts, dtype, softmax=softmax)[1] if margins else None
                    top = thin.rows.start - band.rows.start
                    yield Rows(
                        thin.rows,
                        labels[top : top + thin.rows.stop - thin.rows.start],
                        None if sure is None else sure[thin.inside],
                        None if found is None else found[:, *thin.inside],
                    )

    def _all_rows(self, image: ndarray) -> Rows:
        """Everything of an image at once."""
        labels, probabilities = self.labels_and_probabilities(image)
        with enough_memory():
            second, best = np.partition(probabilities, (-2, -1), axis=0)[-2:]
        return Rows(slice(0, len(labels)), labels, best - second, probabilities)

    @torch.inference_mode()
    def _labels(self, images: list[ndarray]) -> list[ndarray]:
        """Label checked images, neighbours of one size together."""
        if self.decode != "argmax":
            return [self.labels_and_probabilities(image)[0] for image in images]
        labels = []
        for _, neighbours in itertools.groupby(images, key=lambda image: image.shape):
            same_size = list(neighbours)
            size = same_size[0].shape[:2]
            step = max(1, len(same_size))
            if min(size) > 0:
                step = min(batch_size(each.view) for each in view_sizes(size, self.protocol))
            for start in range(0, len(same_size), step):
                batch = same_size[start : start + step]
                found = [np.empty(size, dtype=self.classes.label_dtype) for _ in batch]
                for band in self._bands(batch):
                    for whole, part in zip(found, self._band_labels(band), strict=True):
                        whole[band.rows] = part
                labels += found
        return labels

    def _bands(self, images: Sequence[ImageRows]) -> Iterator[Band]:
        """Run the model on images of one size, from top to bottom; none for an empty image."""
        if min(images[0].shape) == 0:
            return iter(())
        check_work(images[0].shape[:2], self.protocol, self.spec, self.device)
        return image_bands(images, self.protocol, self._patch_logits, self.spec.upsampled_length)

    def _band_labels(self, band: Band) -> list[UInt[ndarray, "rows width"]]:
        """Labels of a band, of each image."""
        dtype = self.classes.label_dtype
        return [
            band_labels(parts, dtype, softmax=self._averages_probabilities(parts))[band.inside]
            for parts in band.parts
        ]

    def _averages_probabilities(self, parts: Sequence[ViewLogits]) -> bool:
        return len(parts) > 1 and self.protocol.average == "probabilities"

    def _patch_logits(
        self, windows: Shaped[ndarray, "windows height width channels"]
    ) -> Float[Tensor, "windows classes rows columns"]:
        """Score the patches of windows, several at a time."""
        begin = time.perf_counter()
        step = batch_size(windows.shape[1:3])
        logits = []
        for start in range(0, len(windows), step):
            with self.around_pass():
                pixels = torch.from_numpy(windows[start : start + step])
                logits.append(self.runtime.patch_logits(pixels.permute(0, 3, 1, 2)))
        self.model_seconds += time.perf_counter() - begin
        return torch.cat(logits)

    def _checked(self, image: object) -> ndarray:
        return checked_image(image, self.spec.encoder.in_channels)
