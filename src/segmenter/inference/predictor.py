"""From images to label maps by a `Protocol`: resize, slide windows, flip, average, label."""

import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec, cast, overload

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt
from numpy import ndarray
from torch import Tensor

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.inference.enough_memory import enough_memory
from segmenter.inference.labels import (
    Quantity,
    ViewLogits,
    band_confidence,
    band_labels,
    band_margins,
    band_probabilities,
)
from segmenter.inference.metric_decoding import LABEL_RULES, decode_probabilities
from segmenter.inference.protocols import change_protocol, find_protocol
from segmenter.inference.resizing import ImageRows, checked_image, view_sizes
from segmenter.inference.row_bands import Band, batch_size, image_bands, split_band
from segmenter.inference.work import check_work
from segmenter.model import ModelSpec, Protocol, Segmenter
from segmenter.options import Compute, LabelRule
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime

Quantities = dict[Quantity, ndarray]
"""Results for an image or for some of its rows. Labels are uint8 or uint16 (height, width),
margins and confidence float32 (height, width), probabilities float32 (classes, height, width)."""

_NUMBERS_AT_ONCE = 1 << 24
"""Probabilities computed at once: 64 MiB."""
_RENAMED = {"decode": "label_rule", "merge_tokens": "merge_threshold"}
"""Keywords of 0.1.0, and what they are called now."""
_Arguments = ParamSpec("_Arguments")


def _taking_old_keywords(function: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    @wraps(function)
    def renaming(*args: _Arguments.args, **keywords: _Arguments.kwargs) -> None:
        for old, now in _RENAMED.items():
            if old in keywords:
                if now in keywords:
                    raise UserError(f"{old} is the old name of {now}; give {now} alone")
                warnings.warn(f"{old} is now {now}", DeprecationWarning, stacklevel=2)
                keywords[now] = keywords.pop(old)
        function(*args, **keywords)

    return renaming


class Predictor:
    """Label images of any size.

    A model object is put into eval mode and stays there.

    Args:
        model: A model, the bundled name or path of one, an exported file, or an open runtime, which
            has its own device, runtime, precision and merge threshold.
        protocol: How an image is fed to the model: a `Protocol`, or the name of a published one
            (`segmenter`, `segmenter-miou`, `mmseg`, `paddleseg`). If None, the model's own.
        flip: Whether to average with the mirrored image. If None, as the protocol says.
        scales: Sizes to average over, relative to the protocol's. If None, as the protocol says.
        label_rule: `argmax` gives the most probable class at each pixel; `iou` and `dice` give the
            labels with the highest expected mean IoU or Dice in the image (`metric_decoding.py`).
        device, runtime, precision, merge_threshold: As in `options.Compute`. `auto` is the fastest
            that is installed; a model object stays in torch.

    Raises:
        UserError: If any of these cannot be used.
    """

    @_taking_old_keywords
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
        label_rule: str = "argmax",
        merge_threshold: float | None = None,
    ) -> None:
        if label_rule not in LABEL_RULES:
            raise UserError(
                f"label_rule must be one of {', '.join(LABEL_RULES)}, got {label_rule!r}"
            )
        self.label_rule: LabelRule = cast(LabelRule, label_rule)
        if isinstance(model, Segmenter | str | Path):
            compute = Compute(
                device=str(device),
                runtime=runtime,
                precision=precision,
                merge_threshold=merge_threshold,
            )
            model = open_runtime(model, compute)
        if not isinstance(model, Runtime):
            raise UserError(f"a model is a Segmenter, a name or a path, got {type(model).__name__}")
        self.runtime: Runtime = model
        self.device = self.runtime.device
        self.model_seconds = 0.0
        """Seconds that the model has run so far, without the work on its logits."""
        self.around_pass: Callable[[], AbstractContextManager[object]] = nullcontext
        """Context entered around each forward pass; it may wait, or raise to cancel."""
        changes = {} if flip is None else {"flip": flip}
        changes |= {} if scales is None else {"scales": scales}
        self.protocol = change_protocol(find_protocol(protocol, self.spec), changes)
        self.image_bits = self.classes.image_bits
        """Bits per sample to read files with that have more than 8. If None, each file's own."""

    @property
    def spec(self) -> ModelSpec:
        """Everything about the model but its weights."""
        return self.runtime.spec

    @property
    def model(self) -> Segmenter:
        """The model in torch; with another runtime, it is read at the first request."""
        return self.runtime.model

    @property
    def classes(self) -> Classes:
        """The classes of the labels."""
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
        labels = [found["labels"] for found in self._whole(given, "labels")]
        return labels if isinstance(image, list | tuple) else labels[0]

    def labels_and_probabilities(
        self, image: ndarray
    ) -> tuple[UInt[ndarray, "height width"], Float[ndarray, "classes height width"]]:
        """Return the label map of an image and the probabilities it is made from.

        Args:
            image: As for `__call__`.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        probabilities = self.probabilities(image)
        with enough_memory():
            background = self.classes.background_index
            labels = decode_probabilities(probabilities, self.label_rule, background)
        return labels.astype(self.classes.label_dtype), probabilities

    def probabilities(self, image: ndarray) -> Float[ndarray, "classes height width"]:
        """Return the probability of each class at each pixel of an image, 0 to 1.

        For one class with a background: first the background, then the class.

        Args:
            image: As for `__call__`.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        (found,) = self._whole([image], "probabilities")
        return found["probabilities"]

    def confidence(self, image: ndarray) -> Float[ndarray, "height width"]:
        """Return the probability of the most probable class at each pixel of an image, 0 to 1.

        This is the maximum of `probabilities`, but needs no memory for all classes.

        Args:
            image: As for `__call__`.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        (found,) = self._whole([image], "confidence")
        return found["confidence"]

    def labels_and_margins(
        self, image: ndarray
    ) -> tuple[UInt[ndarray, "height width"], Float[ndarray, "height width"]]:
        """Return the label map of an image and the margin of each label.

        Args:
            image: As for `__call__`.

        Returns:
            The label map, and at each pixel the probability of the best class minus that of the
            second: from 0, a tie, to 1.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        (found,) = self._whole([image], "labels", "margins")
        return found["labels"], found["margins"]

    def rows(self, image: ndarray, *wanted: Quantity) -> Iterator[tuple[slice, Quantities]]:
        """Yield results for an image, some rows at a time, from top to bottom.

        Args:
            image: As for `__call__`.
            wanted: `labels`, `margins`, `confidence` or `probabilities`: see the methods of these
                names.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        for rows, (found,) in self._walk([self._checked(image)], wanted):
            yield rows, found

    def label_rows(self, image: ImageRows) -> Iterator[tuple[slice, UInt[ndarray, "rows width"]]]:
        """Yield the labels of an image of any size, some rows at a time, from top to bottom.

        Args:
            image: An array as for `__call__`, or an object that reads rows on demand.

        Raises:
            UserError: If `label_rule` is not `argmax`: labels then depend on the whole image.
        """
        if self.label_rule != "argmax":
            raise UserError(
                f"label_rule {self.label_rule!r} needs an image whole; rows take 'argmax'"
            )
        for rows, (found,) in self._walk([image], ["labels"]):
            yield rows, found["labels"]

    def _whole(self, images: Sequence[object], *wanted: Quantity) -> list[Quantities]:
        """Return results for whole images; neighbours of one size are computed together."""
        whole: list[Quantities] = []
        with enough_memory():
            for batch in self._batches([self._checked(image) for image in images]):
                found = [self._empty(batch[0].shape[:2], wanted) for _ in batch]
                for rows, of_images in self._walk(batch, wanted):
                    for all_rows, some in zip(found, of_images, strict=True):
                        for quantity, numbers in some.items():
                            all_rows[quantity][..., rows, :] = numbers
                whole += found
        return whole

    def _batches(self, images: Sequence[ndarray]) -> Iterator[list[ndarray]]:
        """Group neighbours of one size, as many as the model takes at once."""
        for _, neighbours in itertools.groupby(images, key=lambda image: image.shape):
            same_size = list(neighbours)
            size = same_size[0].shape[:2]
            step = len(same_size)
            if min(size) > 0:
                step = min(batch_size(each.view) for each in view_sizes(size, self.protocol))
            for start in range(0, len(same_size), step):
                yield same_size[start : start + step]

    def _empty(self, size: tuple[int, ...], wanted: Sequence[Quantity]) -> Quantities:
        """Allocate the results for an image."""
        found: Quantities = {}
        for each in wanted:
            shape = (len(self.classes), *size) if each == "probabilities" else size
            found[each] = np.empty(
                shape, self.classes.label_dtype if each == "labels" else np.float32
            )
        return found

    @torch.inference_mode()
    def _walk(
        self, images: Sequence[ImageRows], wanted: Sequence[Quantity]
    ) -> Iterator[tuple[slice, list[Quantities]]]:
        """Walk down images of one size, and yield results for some rows of each."""
        if self.label_rule != "argmax" and "labels" in wanted:  # they depend on all pixels
            yield slice(0, images[0].shape[0]), [self._decoded(each, wanted) for each in images]
            return
        with enough_memory():
            for band in self._bands(images):
                # Labels alone need no probabilities, and so less memory.
                parts = [band] if set(wanted) == {"labels"} else split_band(band, _NUMBERS_AT_ONCE)
                for each in parts:
                    yield (
                        each.rows,
                        [self._found(each, of_image, wanted) for of_image in each.parts],
                    )

    def _found(
        self, band: Band, parts: Sequence[ViewLogits], wanted: Sequence[Quantity]
    ) -> Quantities:
        """Return results for a band of one image."""
        softmax = len(parts) > 1 and self.protocol.average == "probabilities"
        measures: dict[Quantity, Callable[..., ndarray]] = {
            "labels": partial(band_labels, dtype=self.classes.label_dtype),
            "margins": band_margins,
            "confidence": band_confidence,
            "probabilities": band_probabilities,
        }
        return {each: measures[each](parts, softmax=softmax)[..., *band.inside] for each in wanted}

    def _decoded(self, image: ImageRows, wanted: Sequence[Quantity]) -> Quantities:
        """Return results for an image with the label rule `iou` or `dice`."""
        labels, probabilities = self.labels_and_probabilities(image[:])
        found: Quantities = {"labels": labels, "probabilities": probabilities}
        if "margins" in wanted:
            with enough_memory():
                second, best = np.partition(probabilities, (-2, -1), axis=0)[-2:]
                found["margins"] = best - second
        if "confidence" in wanted:
            found["confidence"] = probabilities.max(axis=0)
        return {each: found[each] for each in wanted}

    def _bands(self, images: Sequence[ImageRows]) -> Iterator[Band]:
        """Run the model on images of one size, from top to bottom; no band for an empty image."""
        if min(images[0].shape) == 0:
            return iter(())
        check_work(images[0].shape[:2], self.protocol, self.spec, self.device)
        return image_bands(images, self.protocol, self._patch_logits, self.spec.upsampled_length)

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
