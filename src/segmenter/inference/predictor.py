"""Photos in, label maps out, as a `Protocol` says: resized, through windows, mirrored, averaged."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, overload

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray
from pydantic import ValidationError
from torch import Tensor

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.inference.labels import add_resized, to_labels
from segmenter.inference.runtimes import Runtime, open_runtime
from segmenter.inference.views import mean_size, resize_photo, resize_pixels, view_sizes
from segmenter.inference.windows import Box, window_boxes
from segmenter.model import ModelSpec, Protocol, Segmenter
from segmenter.model.protocol import published_protocol
from segmenter.model.segmenter import ImageSize, upsample
from segmenter.validation import first_problem

_MAX_BATCH = 8
_MAX_BATCH_PIXELS = 8 * 512 * 512


class Predictor:
    """Label photos of any size.

    A model object is put into eval mode and stays there.

    Args:
        model: A model, the bundled name or path of one, an exported file, or a runtime that holds
            one already.
        protocol: How a photo is fed to the model; none: as the model's own spec says. A name is
            that of a published code base: `segmenter`, `segmenter-miou`, `mmseg`, `paddleseg`.
        flip: Whether to look at the mirrored photo too; none: as the protocol says.
        scales: Sizes to look at, relative to the protocol's; none: as the protocol says.
        device: Where to compute, such as `cpu` or `cuda:0`.
        runtime: What computes: `torch`, `torch-compile`, `openvino`, `onnxruntime`, or `auto`, the
            fastest that is installed (a model object stays in torch).
        precision: `float32`, the published numerics, or `bfloat16` for the matrix products; `auto`:
            bfloat16 where OpenVINO or a GPU has it natively.

    Raises:
        UserError: If the model, protocol, device, runtime, precision or scales cannot be used.
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
    ) -> None:
        if isinstance(model, Segmenter | str | Path):
            model = open_runtime(model, runtime, precision, device)
        if not isinstance(model, Runtime):
            raise UserError(f"a model is a Segmenter, a name or a path, got {type(model).__name__}")
        self.runtime: Runtime = model
        self.device = self.runtime.device
        given = {"flip": flip, "scales": scales}
        changes = {name: value for name, value in given.items() if value is not None}
        self.protocol = change_protocol(find_protocol(protocol, self.spec), changes)

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
        """Label every pixel of a photo, or of each photo in a list.

        Args:
            image: uint8 (height, width, channels), RGB for most models, 0 to 255; grey photos may
                have two axes. Neighbours of one size in a list are computed together.

        Returns:
            The class index of each pixel, (height, width), uint8, or uint16 for more than 255
            classes; a list if a list was given.

        Raises:
            UserError: If `image` is anything else, or too large for the memory.
        """
        photos = [*image] if isinstance(image, list | tuple) else [image]
        with _enough_memory():
            labels = self._labels([self._checked(photo) for photo in photos])
        return labels if isinstance(image, list | tuple) else labels[0]

    @torch.inference_mode()
    def probabilities(self, image: ndarray) -> Float[ndarray, "classes height width"]:
        """Probability of each class at each pixel of a photo; see `__call__` for the photo.

        Where there is one class: of the background and of the class.

        Raises:
            UserError: If `image` is no photo that the model takes, or too large for the memory.
        """
        with _enough_memory():
            return self._probabilities(self._checked(image))

    def _probabilities(
        self, image: UInt8[ndarray, "height width channels"]
    ) -> Float[ndarray, "classes height width"]:
        size = image.shape[:2]
        views = self._views(image[None])
        scores = self._mean_scores(views, 0, size)
        are_logits = len(views) == 1 or self.protocol.average == "logits"
        probabilities = scores.new_zeros(len(scores), *size)
        add_resized(probabilities, scores, softmax=are_logits)
        return probabilities.cpu().numpy()

    @torch.inference_mode()
    def _labels(self, images: list[ndarray]) -> list[ndarray]:
        """Label checked photos, neighbours of one size together."""
        labels = []
        for _, neighbours in itertools.groupby(images, key=lambda image: image.shape):
            same_size = list(neighbours)
            size = same_size[0].shape[:2]
            step = min(_batch_size(each.view) for each in view_sizes(size, self.protocol))
            for start in range(0, len(same_size), step):
                batch = np.stack(same_size[start : start + step])
                views = self._views(batch)
                for index in range(len(batch)):
                    scores = self._mean_scores(views, index, size)
                    labels.append(to_labels(scores, size, self.classes.label_dtype))
        return labels

    def _views(self, images: UInt8[ndarray, "batch height width channels"]) -> list["_View"]:
        """Run the model on photos of one size: at each scale, as they are and mirrored."""
        views = []
        for photo, size in view_sizes(images.shape[1:3], self.protocol):
            dtype = self.protocol.resize_dtype
            resized = np.stack([resize_photo(image, photo, dtype) for image in images])
            pixels = torch.from_numpy(resized).to(self.device).permute(0, 3, 1, 2)
            pixels = resize_pixels(pixels, size)
            window = self.protocol.window or max(size)
            boxes = window_boxes(size, window, self.protocol.stride or window)
            views.append(_View(size, boxes, False, self._patch_logits(pixels, boxes)))
            if self.protocol.flip:
                mirrored = self._patch_logits(pixels.flip(-1), boxes)
                views.append(_View(size, boxes, True, mirrored))
        return views

    def _patch_logits(
        self, images: Shaped[Tensor, "batch channels height width"], boxes: list[Box]
    ) -> Float[Tensor, "batch windows classes rows columns"]:
        """Score the patches of every window of every photo, several windows at a time."""
        windows = [image[:, rows, columns] for image in images for rows, columns in boxes]
        step = _batch_size(windows[0].shape[1:])
        logits = [
            self.runtime.patch_logits(torch.stack(windows[start : start + step]))
            for start in range(0, len(windows), step)
        ]
        return torch.cat(logits).unflatten(0, (len(images), len(boxes)))

    def _mean_scores(
        self, views: list["_View"], index: int, size: ImageSize
    ) -> Float[Tensor, "classes rows columns"]:
        """Mean over the views of one photo of `size`; of one view, its plain logits."""
        if len(views) == 1:
            return self._merge_windows(views[0], index)
        size = mean_size(size, self.protocol)
        total = torch.zeros(len(self.classes), *size, device=self.device)
        for view in views:
            softmax = self.protocol.average == "probabilities"
            add_resized(total, self._merge_windows(view, index), softmax=softmax)
        return total.div_(len(views))

    def _merge_windows(
        self, view: "_View", index: int
    ) -> Float[Tensor, "classes view_height view_width"]:
        """Logits of one view of one photo: the plain mean of its windows where they overlap."""
        windows = view.patch_logits[index]
        rows, columns = view.boxes[0]
        window_size = (rows.stop, columns.stop)
        if len(view.boxes) == 1:
            total = upsample(windows, window_size, self.spec)[0]
            return total.flip(-1) if view.is_mirrored else total
        total = windows.new_zeros(windows.shape[1], *view.size)
        count = windows.new_zeros(view.size)
        for (rows, columns), logits in zip(view.boxes, windows, strict=True):
            total[:, rows, columns] += upsample(logits[None], window_size, self.spec)[0]
            count[rows, columns] += 1
        total /= count
        return total.flip(-1) if view.is_mirrored else total

    def _checked(self, image: object) -> ndarray:
        """Refuse what is no photo, and give a grey one the channels that the model takes."""
        num_channels = self.spec.encoder.in_channels
        if isinstance(image, ndarray) and image.dtype == np.uint8 and image.size > 0:
            if image.ndim == 2 and num_channels in {1, 3}:
                return np.broadcast_to(image[:, :, None], (*image.shape, num_channels))
            if image.ndim == 3 and image.shape[2] == num_channels:
                return image
        given = (
            f"{image.dtype} of shape {image.shape}"
            if isinstance(image, ndarray)
            else type(image).__name__
        )
        raise UserError(
            "a photo must be a NumPy array of uint8 (0 to 255) and shape (height, width, "
            f"{num_channels}), none of them 0, got {given}; convert it first"
        )


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Say in one line that memory is short, whichever library finds out."""
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        is_short = (
            isinstance(error, MemoryError | torch.OutOfMemoryError)
            or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)
            or "can't allocate memory" in str(error)
        )
        if not is_short:
            raise
        raise UserError(
            "the photo does not fit into memory at the size it is looked at; give a smaller "
            "short side or fewer scales, or a photo of fewer pixels"
        ) from None


class _View(NamedTuple):
    """What the model said about photos of one size, seen at one scale, mirrored or not."""

    size: ImageSize
    boxes: list[Box]
    is_mirrored: bool
    patch_logits: Tensor
    """(photos, windows, classes, rows, columns): small, unlike logits at every pixel."""


def _batch_size(size: tuple[int, ...]) -> int:
    """How many pictures of this height and width go through the model at once."""
    height, width = size
    return max(1, min(_MAX_BATCH, _MAX_BATCH_PIXELS // (height * width)))


def find_protocol(protocol: Protocol | str | None, spec: ModelSpec) -> Protocol:
    """The protocol meant: the model's own, or a published one, for windows as the model knows them.

    Raises:
        UserError: If a name is not known.
    """
    own = spec.protocol
    if protocol is None:
        return own
    if isinstance(protocol, Protocol):
        return protocol
    if not isinstance(protocol, str):
        raise UserError(f"a protocol is a name or a Protocol, got {type(protocol).__name__}")
    window = own.window
    if window is None and spec.encoder.table_grid is not None:
        window = min(spec.encoder.table_grid) * spec.encoder.patch_size
    sizes = {} if own.short_side is None else {"short_side": own.short_side}
    return published_protocol(
        protocol, window=window, stride=own.stride, max_ratio=own.max_ratio, **sizes
    )


def change_protocol(protocol: Protocol, changes: Mapping[str, object]) -> Protocol:
    """A protocol with single fields replaced.

    Raises:
        UserError: If a value is impossible, or fields contradict.
    """
    try:
        return Protocol.model_validate({**protocol.model_dump(), **changes})
    except ValidationError as error:
        raise UserError(first_problem(error, Protocol)) from None
