import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes, read_classes
from segmenter.data.draft import draft_classes
from segmenter.data.folder import Item, read_labels
from segmenter.errors import UserError


@pytest.fixture
def draft(tmp_path):
    """Write masks, draft classes from them, and read the draft back."""

    def draft_of(*masks) -> Classes:
        items = []
        for index, mask in enumerate(masks):
            path = tmp_path / f"{index}.png"
            Image.fromarray(np.array(mask)).save(path)
            items.append(Item(str(index), path, path))
        (tmp_path / "classes.yaml").write_text(draft_classes(items))
        classes = read_classes(tmp_path / "classes.yaml")
        for item in items:
            read_labels(item, classes)
        return classes

    return draft_of


def grey(*values: int) -> np.ndarray:
    return np.array([values], dtype=np.uint16 if max(values) > 255 else np.uint8)


def test_each_value_becomes_a_class_and_255_is_ignored(draft):
    classes = draft(grey(0, 3), grey(3, 7, 255))
    assert classes.names == ("class-0", "class-3", "class-7")
    assert classes.source_values == (0, 3, 7)
    assert classes.ignore == (255,)


def test_0_and_255_are_a_background_and_one_class(draft):
    classes = draft(grey(0, 0), grey(0, 255))
    assert classes.names == ("background", "foreground")
    assert classes.background == (0,)
    assert classes.source_values == (0, 255)
    assert classes.ignore == ()


@pytest.mark.parametrize("values", [(0, 254, 255), (255, 255)])
def test_255_is_a_class_where_it_cannot_be_a_mark(values, draft):
    assert 255 in draft(grey(*values)).source_values


def test_16_bit_values_become_classes(draft):
    assert draft(grey(1, 500, 40_000)).source_values == (1, 500, 40_000)


def test_colors_become_classes_of_their_own_color(draft):
    classes = draft(np.array([[[0, 0, 0], [9, 8, 7]]], dtype=np.uint8), grey(0, 255))
    assert classes.source_values == ((0, 0, 0), (9, 8, 7), (255, 255, 255))
    assert classes.colors.tolist() == [[0, 0, 0], [9, 8, 7], [255, 255, 255]]


def test_grey_masks_saved_as_rgb_become_grey_classes(draft):
    assert draft(np.repeat(grey(0, 4)[:, :, None], 3, axis=2)).source_values == (0, 4)


def test_too_many_values_are_refused(draft):
    with pytest.raises(UserError, match="more than 1024 values"):
        draft(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))


def test_without_masks_there_is_nothing_to_draft(tmp_path):
    with pytest.raises(UserError, match="no masks"):
        draft_classes([Item("a", tmp_path / "a.png", None)])


def test_only_some_masks_are_read_spread_over_all(draft, tmp_path):
    draft(*(grey(index) for index in range(10)))
    items = [Item(str(index), tmp_path, tmp_path / f"{index}.png") for index in range(10)]
    assert draft_classes(items, limit=3).count("name:") == 3
