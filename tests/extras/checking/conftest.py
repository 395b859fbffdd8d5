"""A clean data set, into which tests plant one fault at a time."""

from pathlib import Path

import pytest

from tests.helpers.drawn_items import CLASSES_YAML, draw_image, draw_mask, write_item


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Three images to train on, two to score on; nothing is wrong with them."""
    root = tmp_path / "set"
    for seed, name in enumerate(("train/a", "train/b", "train/c", "val/d", "val/e")):
        write_item(root, name, draw_image(seed), draw_mask(seed))
    (root / "classes.yaml").write_text(CLASSES_YAML)
    return root
