"""Images that hold their own prediction, and a predictor that reads it off them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.folder import Item
from tests.helpers.predictions import LabelPair


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
