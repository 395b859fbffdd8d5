"""Images that hold their own prediction, and a predictor that reads it off them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes
from segmenter.data.folder import Item
from segmenter.inference import Predictor
from segmenter.model import Protocol
from tests.conftest import make_classes

LabelPair = tuple[np.ndarray, np.ndarray]
"""True and predicted labels of one image."""


class ReadsImage(Predictor):
    """Takes the red channel of an image for its labels."""

    image_bits = None

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self.protocol = Protocol()
        self.num_seen = 0

    @property
    def classes(self) -> Classes:
        return self._classes

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.num_seen += 1
        return image[:, :, 0].astype(self._classes.label_dtype)


def with_names(*names: str) -> Classes:
    """Classes of these names."""
    infos = make_classes(len(names)).classes
    pairs = zip(infos, names, strict=True)
    return Classes(classes=tuple(info.model_copy(update={"name": name}) for info, name in pairs))


@pytest.fixture
def write_items(tmp_path: Path) -> Callable[[Sequence[LabelPair]], list[Item]]:
    """A function that writes images and masks, and returns them as items."""

    def write(pairs: Sequence[LabelPair]) -> list[Item]:
        items = []
        for index, (true, predicted) in enumerate(pairs):
            item = Item(
                f"photo-{index}", tmp_path / f"photo-{index}.png", tmp_path / f"mask-{index}.png"
            )
            image = np.repeat(predicted.astype(np.uint8)[:, :, None], 3, axis=2)
            Image.fromarray(image).save(item.image)
            Image.fromarray(true.astype(np.uint8)).save(item.mask)
            items.append(item)
        return items

    return write
