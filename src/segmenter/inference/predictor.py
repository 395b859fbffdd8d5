"""Images to label maps, by an `EvaluationProtocol`: resize, windows, flips, average, label."""

import inspect
import itertools
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec, cast, get_args, overload

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt
from numpy import ndarray
from torch import Tensor

from segmenter.calls import check_call, check_types
from segmenter.checkpoints.license import terms_of_use
from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.image_spec import shown_pixels
from segmenter.inference.enough_memory import enough_memory
from segmenter.inference.image_inputs import ImageInput, file_of, is_list, read_input
from segmenter.inference.labels import (
    Quantity,
    ViewLogits,
    band_confidence,
    band_labels,
    band_labels_above,
    band_margins,
    band_probabilities,
)
from segmenter.inference.metric_decoding import LABEL_RULES, decode_probabilities
from segmenter.inference.protocols import change_protocol, check_window, find_protocol
from segmenter.inference.resizing import ImageRows, view_sizes
from segmenter.inference.row_bands import Band, batch_size, image_bands, split_band
from segmenter.inference.segmentation import Segmentation
from segmenter.inference.threshold import is_at_least, shifting_threshold
from segmenter.inference.window_scores import join_scores
from segmenter.inference.work import check_work
from segmenter.model import EvaluationProtocol, ModelSpec, Segmenter
from segmenter.model.mask_scores import MaskScores
from segmenter.options import AUTO_DEVICE, Compute, LabelRule, Sizes
from segmenter.runtimes.devices import free_memory, is_out_of_memory
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.runtime import Runtime
from segmenter.text import visible

Quantities = dict[Quantity, ndarray]
"""Results for an image or for some of its rows. Labels are uint8 or uint16 (height, width),
margins and confidence float32 (height, width), probabilities float32 (classes, height, width)."""

_LabelsAndProbabilities = tuple[
    UInt[ndarray, "height width"], Float[ndarray, "classes height width"]
]
_LabelsAndMargins = tuple[UInt[ndarray, "height width"], Float[ndarray, "height width"]]
_QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
_NUM_SHOWN_CLASSES = 5
_NUMBERS_AT_ONCE = 1 << 24
"""Probabilities computed at once: 64 MiB."""
_RENAMED = {"decode": "label_rule", "merge_tokens": "merge_threshold"}
"""Keywords of 0.1.0, and what they are called now."""
_Arguments = ParamSpec("_Arguments")

_CHANGES = {
    "flip": bool | None,
    "symmetry": str | None,
    **dict.fromkeys(("short_side", "window", "stride"), int | None),
    "scales": Sequence[float] | None,
}
"""Types of the keywords that change a protocol."""

log = logging.getLogger("segmenter.inference")


def _checking_call(function: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Translate keywords of 0.1.0, and reject arguments that the constructor does not take."""
    signature = inspect.signature(function)
    own = signature.replace(parameters=list(signature.parameters.values())[1:])  # without self

    @wraps(function)
    def checked(*args: _Arguments.args, **keywords: _Arguments.kwargs) -> None:
        for old, now in _RENAMED.items():
            if old in keywords:
                if now in keywords:
                    raise UserError(f"{old} is the old name of {now}; give {now} alone")
                warnings.warn(f"{old} is now {now}", DeprecationWarning, stacklevel=2)
                keywords[now] = keywords.pop(old)
        check_call("Predictor", own, args[1:], keywords)
        function(*args, **keywords)

    return checked


class Predictor:
    """Predict the class of every pixel in images of any size.

    A model object is put into eval mode and stays there.

    Args:
        model: A model, the bundled name or path of one, an exported file, or an open runtime. An
            open runtime has its own device, runtime, precision and merge threshold.
        protocol: Rules of resizing, windows and averaging: an `EvaluationProtocol`, or the name of
            a published one (`segmenter`, `segmenter-miou`, `mmseg`, `paddleseg`, `eomt`). If None,
            the model's own.
        flip: Average with the mirrored image; the same as symmetry `mirror`. If None, as the
            protocol says.
        symmetry: Flipped and turned images to average over: `none`, `mirror` (left to right),
            `flips` (of both axes), or `d4` (flips and quarter turns, 8 views). If None, as the
            protocol says.
        short_side: Short side that images are resized to, in pixels; 0: not resized. If None, as
            the protocol says.
        window: Side of the sliding window, in pixels; 0: the whole image at once. If None, as the
            protocol says.
        stride: Distance of neighbouring windows, in pixels. If None, as the protocol says, and at
            most the window.
        scales: Sizes to average over, relative to the resized image. If None, as the protocol says.
        label_rule: `argmax` gives the most probable class at each pixel; `iou` and `dice` give the
            labels with the highest expected mean IoU or Dice in the image (`metric_decoding.py`).
        threshold: For models of one class: smallest probability of a pixel that gets the class. If
            None, 0.5.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`: a GPU if one is found, else the CPU. With
            `auto`, a model object stays on its device.
        runtime: `torch`, `torch-compile`, `openvino`, `onnxruntime`, or `auto`: the fastest that is
            installed. With `auto`, a model object stays in torch.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the hardware is fast with it.
        merge_threshold: Cosine above which tokens are merged, such as 0.8: faster, for nearly the
            same labels. It needs torch. If None, none are merged.

    Raises:
        UserError: If any of these cannot be used.

    Example:
        predictor = segmenter.Predictor("street", short_side=840)
        labels = predictor("photo.jpg")  # uint8 (height, width), the class index of each pixel
        probabilities = predictor.probabilities("photo.jpg")  # float32 (11, height, width), 0 to 1
    """

    @_checking_call
    def __init__(
        self,
        model: Segmenter | str | Path | Runtime,
        *,
        protocol: EvaluationProtocol | str | None = None,
        flip: bool | None = None,
        symmetry: str | None = None,
        short_side: int | None = None,
        window: int | None = None,
        stride: int | None = None,
        scales: Sequence[float] | None = None,
        device: str | torch.device = AUTO_DEVICE,
        runtime: str = "auto",
        precision: str = "auto",
        label_rule: str = "argmax",
        threshold: float | None = None,
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
        self.classes: Classes = self.spec.classes
        """The classes of the labels. Other colours of the same classes may be set."""
        self.threshold = shifting_threshold(threshold, self.classes, self.label_rule)
        """Smallest probability of a pixel that gets the class. None: 0.5, or several classes."""
        self.model_seconds = 0.0
        """Seconds that the model has run so far, without the work on its logits."""
        self._most_pixels: int | None = None  # at once; None: no batch was too large so far
        self.around_pass: Callable[[], AbstractContextManager[object]] = nullcontext
        """Context entered around each forward pass; it may wait, or raise to cancel."""
        changes = _changes(
            flip=flip,
            symmetry=symmetry,
            short_side=short_side,
            window=window,
            stride=stride,
            scales=scales,
        )
        self.protocol = change_protocol(find_protocol(protocol, self.spec), changes)
        check_window(self.protocol, self.spec)
        self.image_bits = self.classes.image_bits
        """Bits per sample of image files that have more than 8. None: as each file states."""

    @property
    def spec(self) -> ModelSpec:
        """Everything about the model but its weights."""
        return self.runtime.spec

    @property
    def model(self) -> Segmenter:
        """The model in torch; with another runtime, it is loaded on first use."""
        return self.runtime.model

    def __repr__(self) -> str:
        """Return classes, runtime and terms of use in one line."""
        names = [visible(name) for name in self.classes.names]
        shown = ", ".join(names[:_NUM_SHOWN_CLASSES]) + ", ..." * (len(names) > _NUM_SHOWN_CLASSES)
        terms = terms_of_use(self.spec.license)
        under = f"; terms of use: {terms}" if terms else ""
        return f"Predictor({len(names)} classes: {shown}; {self.runtime.describe()}{under})"

    @overload
    def __call__(self, image: ImageInput) -> ndarray: ...
    @overload
    def __call__(self, image: Sequence[ImageInput]) -> list[ndarray]: ...
    def __call__(self, image: ImageInput | Sequence[ImageInput]) -> ndarray | list[ndarray]:
        """Predict the class of every pixel of an image, or of each image in a list.

        Args:
            image: One of the following, or a list of them. Images of one size that follow each
                other in a list are computed together.

                - A path: an image file, read as `segmenter predict` reads it.
                - An array: uint8 (height, width, channels), RGB for most models, 0 to 255; grey
                  images may have two axes. A model of other images (`spec.image`) takes an array of
                  its channels, in the order of `bands`, and of its type.
                - A PIL image of 8 bits a sample, turned upright by its EXIF data, without alpha.
                - A torch tensor on any device: (channels, height, width), uint8 from 0 to 255, or
                  float16, float32 or float64 from 0 to 1; one channel is grey.

        Returns:
            The class index of each pixel: (height, width), uint8, or uint16 for more than 255
            classes. A list of images gives a list.

        Raises:
            UserError: If `image` is anything else, cannot be read, or is too large for the memory.

        Example:
            predictor = Predictor("street")
            first, second = predictor(["a.jpg", "b.jpg"])
        """
        return self._results(image, "labels")

    @overload
    def segment(self, image: ImageInput) -> Segmentation: ...
    @overload
    def segment(self, image: Sequence[ImageInput]) -> list[Segmentation]: ...
    def segment(
        self, image: ImageInput | Sequence[ImageInput]
    ) -> Segmentation | list[Segmentation]:
        """Predict an image, or each image in a list, and return labels, pictures and files of it.

        Args:
            image: As for `__call__`.

        Returns:
            The labels, equal to those of `__call__`, with probabilities, shares, pictures and
            files. A list of images gives a list.

        Raises:
            UserError: As `__call__`, or if no image file has the channels that the model takes.

        Example:
            Predictor("street").segment("photo.jpg").overlay().save("overlay.png")
        """
        self.spec.require_files()
        several = is_list(image)
        given = [*image] if several else [image]
        pixels = [np.array(self._checked(each)) for each in given]  # the caller may change theirs
        found = [
            Segmentation(
                image=shown_pixels(own, self.spec.image),
                labels=labels,
                classes=self.classes,
                path=file_of(each),
                find_probabilities=partial(_of_channels, self.probabilities, own),
                find_margins=partial(_of_channels, self._margins, own),
            )
            for each, own, labels in zip(given, pixels, self(pixels), strict=True)
        ]
        return found if several else found[0]

    @overload
    def labels_and_probabilities(self, image: ImageInput) -> tuple[ndarray, ndarray]: ...
    @overload
    def labels_and_probabilities(
        self, image: Sequence[ImageInput]
    ) -> list[tuple[ndarray, ndarray]]: ...
    def labels_and_probabilities(
        self, image: ImageInput | Sequence[ImageInput]
    ) -> _LabelsAndProbabilities | list[_LabelsAndProbabilities]:
        """Return the label map of an image and the probabilities it is made from.

        Args:
            image: As for `__call__`; a list of images gives a list.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        if is_list(image):
            return [self._with_probabilities(each) for each in image]
        return self._with_probabilities(image)

    def _with_probabilities(self, image: object) -> _LabelsAndProbabilities:
        (found,) = self._whole([image], "probabilities")
        probabilities = found["probabilities"]
        with enough_memory():
            if self.threshold is None:
                background = self.classes.background_index
                labels = decode_probabilities(probabilities, self.label_rule, background)
            else:
                labels = is_at_least(probabilities[1], self.threshold)
        return labels.astype(self.classes.label_dtype), probabilities

    @overload
    def probabilities(self, image: ImageInput) -> Float[ndarray, "classes height width"]: ...
    @overload
    def probabilities(self, image: Sequence[ImageInput]) -> list[ndarray]: ...
    def probabilities(self, image: ImageInput | Sequence[ImageInput]) -> ndarray | list[ndarray]:
        """Return the probability of each class at each pixel of an image, 0 to 1.

        For one class with a background: first the background, then the class.

        Args:
            image: As for `__call__`; a list of images gives a list.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        return self._results(image, "probabilities")

    @overload
    def confidence(self, image: ImageInput) -> Float[ndarray, "height width"]: ...
    @overload
    def confidence(self, image: Sequence[ImageInput]) -> list[ndarray]: ...
    def confidence(self, image: ImageInput | Sequence[ImageInput]) -> ndarray | list[ndarray]:
        """Return the probability of the most probable class at each pixel of an image, 0 to 1.

        This is the maximum of `probabilities`, but needs no memory for all classes. With a
        threshold, it is the probability of the label instead.

        Args:
            image: As for `__call__`; a list of images gives a list.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        return self._results(image, "confidence")

    @overload
    def labels_and_margins(self, image: ImageInput) -> tuple[ndarray, ndarray]: ...
    @overload
    def labels_and_margins(self, image: Sequence[ImageInput]) -> list[tuple[ndarray, ndarray]]: ...
    def labels_and_margins(
        self, image: ImageInput | Sequence[ImageInput]
    ) -> _LabelsAndMargins | list[_LabelsAndMargins]:
        """Return the label map of an image and the margin of each label.

        Args:
            image: As for `__call__`; a list of images gives a list.

        Returns:
            The label map, and at each pixel the probability of the best class minus that of the
            second, from 0 (a tie) to 1. With a threshold, the margin is the distance of the
            probability from it, as a share of the largest distance on that side.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        several = is_list(image)
        whole = self._whole(image if several else [image], "labels", "margins")
        found = [(each["labels"], each["margins"]) for each in whole]
        return found if several else found[0]

    def _margins(self, image: ImageInput) -> Float[ndarray, "height width"]:
        return self.labels_and_margins(image)[1]

    def rows(
        self, image: ImageInput | ImageRows, *wanted: Quantity
    ) -> Iterator[tuple[slice, Quantities]]:
        """Yield results for an image, some rows at a time, from top to bottom.

        Args:
            image: As for `__call__`, or an object that reads rows on demand.
            wanted: `labels`, `margins`, `confidence` or `probabilities`: see the methods of these
                names.

        Raises:
            UserError: If `image` is not one that the model takes, or too large for the memory.
        """
        for each in wanted:
            if each not in _QUANTITIES:
                raise UserError(
                    f"rows: {each!r} is not known{nearest(str(each), _QUANTITIES)}; choose from "
                    f"{', '.join(_QUANTITIES)}"
                )
        is_whole = isinstance(image, ImageInput | list | tuple)  # a list is refused there
        whole = self._checked(image) if is_whole else image
        for rows, (found,) in self._walk([whole], wanted):
            yield rows, found

    def label_rows(
        self, image: ImageInput | ImageRows
    ) -> Iterator[tuple[slice, UInt[ndarray, "rows width"]]]:
        """Yield the labels of an image of any size, some rows at a time, from top to bottom.

        Args:
            image: As for `__call__`, or an object that reads rows on demand.

        Raises:
            UserError: If `label_rule` is not `argmax`, because labels then depend on the whole
                image; or as `__call__`.
        """
        if self.label_rule != "argmax":
            raise UserError(
                f"label_rule {self.label_rule!r} needs the whole image; use 'argmax' for rows"
            )
        for rows, found in self.rows(image, "labels"):
            yield rows, found["labels"]

    def _results(self, image: object, wanted: Quantity) -> ndarray | list[ndarray]:
        """Return a result for an image, or a list of them for a list."""
        several = is_list(image)
        found = [each[wanted] for each in self._whole(image if several else [image], wanted)]
        return found if several else found[0]

    def _whole(self, images: Sequence[object], *wanted: Quantity) -> list[Quantities]:
        """Return results for whole images; neighbours of one size are computed together."""
        whole: list[Quantities] = []
        with enough_memory():
            for batch in self._batches(map(self._checked, images)):
                found = [self._empty(batch[0].shape[:2], wanted) for _ in batch]
                for rows, of_images in self._walk(batch, wanted):
                    for all_rows, some in zip(found, of_images, strict=True):
                        for quantity, numbers in some.items():
                            all_rows[quantity][..., rows, :] = numbers
                whole += found
        return whole

    def _batches(self, images: Iterable[ndarray]) -> Iterator[list[ndarray]]:
        """Group neighbours of one size, as many as the model takes at once."""
        for shape, neighbours in itertools.groupby(images, key=lambda image: image.shape):
            size, step = shape[:2], 1
            if min(size) > 0:
                step = min(batch_size(each.view) for each in view_sizes(size, self.protocol))
            while same_size := list(itertools.islice(neighbours, step)):
                yield same_size

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
            "labels": self._band_labels,
            "margins": partial(band_margins, threshold=self.threshold),
            "confidence": partial(band_confidence, threshold=self.threshold),
            "probabilities": band_probabilities,
        }
        return {each: measures[each](parts, softmax=softmax)[..., *band.inside] for each in wanted}

    def _band_labels(
        self, parts: Sequence[ViewLogits], *, softmax: bool
    ) -> UInt[ndarray, "height width"]:
        """Label a band of one image by the highest score, or by the threshold."""
        dtype = self.classes.label_dtype
        if self.threshold is None:
            return band_labels(parts, dtype, softmax=softmax)
        return band_labels_above(parts, self.threshold, dtype, softmax=softmax)

    def _decoded(self, image: ImageRows, wanted: Sequence[Quantity]) -> Quantities:
        """Return results for an image with the label rule `iou` or `dice`."""
        labels, probabilities = self._with_probabilities(image[:])
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
        return image_bands(images, self.protocol, self._scores, self.spec.upsampled_length)

    def _scores(
        self, windows: Shaped[ndarray, "windows height width channels"]
    ) -> Float[Tensor, "windows classes rows columns"] | MaskScores:
        """Score the patches of windows, several at a time; fewer where memory is full."""
        begin = time.perf_counter()
        size = windows.shape[1:3]
        found: list[Tensor | MaskScores] = []
        start = 0
        while start < len(windows):
            batch = windows[start : start + self._windows_at_once(size)]
            try:
                with self.around_pass():
                    pixels = torch.from_numpy(_as_torch_computes(batch)).permute(0, 3, 1, 2)
                    found.append(self.runtime.scores(pixels))
                start += len(batch)
                continue
            except Exception as error:
                if len(batch) == 1 or not is_out_of_memory(error):
                    raise
            self._lower_batch(len(batch), size)
        self.model_seconds += time.perf_counter() - begin
        return join_scores(found)

    def _windows_at_once(self, size: tuple[int, ...]) -> int:
        """Return how many windows of this height and width go through the model at once."""
        most = batch_size(size)
        if self._most_pixels is not None:
            most = min(most, max(self._most_pixels // math.prod(size), 1))
        return most

    def _lower_batch(self, num_windows: int, size: tuple[int, ...]) -> None:
        """Halve the batch of windows, from now on; say so the first time."""
        fewer = num_windows // 2
        if self._most_pixels is None:
            log.warning(
                "%d windows of %dx%d at once do not fit into the memory of %s; going on with %d",
                *(num_windows, *size, self.device, fewer),
            )
        self._most_pixels = fewer * math.prod(size)
        free_memory(self.device)

    def _checked(self, image: object) -> ndarray:
        spec = self.spec
        return read_input(image, spec.encoder.in_channels, self.image_bits, spec.image)


def _changes(**given: object) -> dict[str, object]:
    """Return the fields of the protocol to change, after a check of the types of the keywords."""
    checked = check_types("Predictor", _CHANGES, given)
    orientations = {name: checked.pop(name) for name in ("flip", "symmetry")}
    scales = checked.pop("scales")
    sizes = Sizes(**checked, scales=None if scales is None else tuple(scales))
    return sizes.changes() | {
        name: value for name, value in orientations.items() if value is not None
    }


def _of_channels(
    measure: Callable[[ndarray], ndarray], channels: ndarray, _picture: ndarray
) -> ndarray:
    """Measure the channels of an image instead of its picture."""
    return measure(channels)


def _as_torch_computes(windows: ndarray) -> ndarray:
    """Return windows in a type that torch computes with: float32 for uint16."""
    return windows if windows.dtype == np.uint8 else windows.astype(np.float32, copy=False)
