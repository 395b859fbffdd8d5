"""Help with labelling: proposals for an image, and regions like the clicked pixel."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_image
from segmenter.errors import UserError
from segmenter.extras.labelling.layers import NOTHING
from segmenter.image_spec import ImageSpec
from segmenter.inference.predictor import Predictor

MAX_SHOWN_SIDE = 1024
"""Long side at which the page shows a proposal, in pixels; it is accepted at the image's size."""


@dataclass(frozen=True)
class LabelledImage:
    """An image and what is labelled in it."""

    name: str
    path: Path
    version: int
    labels: UInt8[ndarray, "height width"]


@dataclass(frozen=True)
class Proposal:
    """Labels that a model proposes for an image."""

    shown: UInt8[ndarray, "rows columns"]
    """Labels as the page shows them: in the shape of the image, smaller if it is large."""
    full: Callable[[], UInt8[ndarray, "height width"]]
    """Compute them at the size of the image."""


class Assistant(ABC):
    """Help with labelling. All methods are called from one thread."""

    learns = False
    """True: proposals change with what is labelled."""
    grows = False
    """True: `grow` can be called."""

    @property
    def image(self) -> ImageSpec | None:
        """Bands, type and range of the images that it reads; None: RGB of 8 bits."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """Return one line for the page and the terminal."""

    @abstractmethod
    def propose(self, path: Path, shape: tuple[int, int], classes: Classes) -> Proposal:
        """Propose labels for an image.

        Args:
            path: Path of the image.
            shape: Its height and width.
            classes: Those of the folder.

        Raises:
            UserError: If too little is labelled for that, or the image cannot be read.
        """

    def prepare(self, path: Path) -> None:  # noqa: B027 - need not
        """Read an image that is looked at soon.

        Raises:
            UserError: If it cannot be read.
        """

    def knows(self, name: str) -> int:
        """Return the version of an image that it has learnt from; 0: none."""
        del name
        return 0

    def learn(self, image: LabelledImage, classes: Classes) -> None:  # noqa: B027 - need not
        """Take over what is labelled in an image."""

    def grow(
        self, path: Path, shape: tuple[int, int], at: tuple[int, int], tolerance: float
    ) -> Bool[ndarray, "height width"]:
        """Return the region around a pixel (row, column) that is like it.

        Args:
            path: Path of the image.
            shape: Its height and width.
            at: Row and column.
            tolerance: 0, only what is very like it, to 1, almost all that touches.

        Raises:
            UserError: If that cannot be found out.
        """
        del path, shape, at, tolerance
        raise UserError("Grow needs the features of an encoder; start `label` without --model")


class ModelAssistant(Assistant):
    """Proposes what a trained model predicts.

    Args:
        predictor: The model.
        name: How the user calls it.
    """

    def __init__(self, predictor: Predictor, name: str) -> None:
        self._predictor, self._name = predictor, name

    def describe(self) -> str:
        """Return one line for the page and the terminal."""
        return f"proposals: predictions of {self._name}"

    @property
    def image(self) -> ImageSpec | None:
        """Bands, type and range of the images of the model."""
        return self._predictor.spec.image

    def propose(self, path: Path, shape: tuple[int, int], classes: Classes) -> Proposal:
        """Return what the model predicts; classes that the folder does not have are left out.

        Raises:
            UserError: If the image cannot be read.
        """
        del shape
        bits = self._predictor.classes.image_bits
        image = decode_image(path, image_bits=bits, image=self.image)
        predicted = self._predictor(image)
        labels = np.minimum(predicted, len(self._predictor.classes)).astype(np.int64)
        full = self._table(classes)[labels]
        return Proposal(shrink(full), lambda: full)

    def _table(self, classes: Classes) -> UInt8[ndarray, " labels"]:
        """Return the folder's label of each label of the model; `NOTHING` for unknown classes."""
        by_name = {name: index for index, name in enumerate(classes.names)}
        table = np.full(len(self._predictor.classes) + 1, NOTHING, dtype=np.uint8)
        for index, name in enumerate(self._predictor.classes.names):
            table[index] = by_name.get(name, NOTHING)
        return table


def shrink(labels: UInt8[ndarray, "height width"]) -> UInt8[ndarray, "rows columns"]:
    """Return labels at the size at which a proposal is shown."""
    rows, columns = shown_shape((labels.shape[0], labels.shape[1]))
    return cv2.resize(labels, (columns, rows), interpolation=cv2.INTER_NEAREST)


def shown_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width at which a proposal for an image is shown."""
    factor = min(1.0, MAX_SHOWN_SIDE / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))
