"""The classes.yaml that is proposed for masks without one."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmenter.classes import Classes, read_classes
from segmenter.data.folder import Item, read_labels
from segmenter.data.masks.draft import draft_classes
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


def test_each_value_becomes_a_class_and_255_is_ignored(draft) -> None:
    classes = draft(grey(0, 3), grey(3, 7, 255))
    assert classes.names == ("class-0", "class-3", "class-7")
    assert classes.source_values == (0, 3, 7)
    assert classes.ignore == (255,)


def test_0_and_255_are_a_background_and_one_class(draft) -> None:
    classes = draft(grey(0, 0), grey(0, 255))
    assert classes.names == ("background", "foreground")
    assert classes.background == (0,)
    assert classes.source_values == (0, 255)
    assert classes.ignore == ()


@pytest.mark.parametrize("values", [(0, 254, 255), (255, 255)])
def test_255_is_a_class_where_it_cannot_be_a_mark(values, draft) -> None:
    assert 255 in draft(grey(*values)).source_values


def test_16_bit_values_become_classes(draft) -> None:
    assert draft(grey(1, 500, 40_000)).source_values == (1, 500, 40_000)


def test_colors_become_classes_of_their_own_color(draft) -> None:
    classes = draft(np.array([[[0, 0, 0], [9, 8, 7]]], dtype=np.uint8), grey(0, 255))
    assert classes.source_values == ((0, 0, 0), (9, 8, 7), (255, 255, 255))
    assert classes.colors.tolist() == [[0, 0, 0], [9, 8, 7], [255, 255, 255]]


def test_grey_masks_saved_as_rgb_become_grey_classes(draft) -> None:
    assert draft(np.repeat(grey(0, 4)[:, :, None], 3, axis=2)).source_values == (0, 4)


def test_too_many_values_are_refused(draft) -> None:
    with pytest.raises(UserError, match="more than 1024 values"):
        draft(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))


def test_without_masks_there_is_nothing_to_draft(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no masks"):
        draft_classes([Item("a", tmp_path / "a.png", None)])


def test_only_some_masks_are_read_spread_over_all(draft, tmp_path: Path) -> None:
    draft(*(grey(index) for index in range(10)))
    items = [Item(str(index), tmp_path, tmp_path / f"{index}.png") for index in range(10)]
    assert draft_classes(items, limit=3).count("name:") == 3
    assert "class-4" in draft_classes(items[:5], limit=3)


def disc(inside: int, outside: int = 0) -> np.ndarray:
    rows, columns = np.indices((80, 80))
    is_inside = (rows - 40) ** 2 + (columns - 36) ** 2 < 700
    return np.where(is_inside, inside, outside).astype(np.uint8)


def draft_text(tmp_path, *masks, suffix=".png", **options) -> str:
    items = []
    for index, mask in enumerate(masks):
        path = tmp_path / f"{index}{suffix}"
        Image.fromarray(mask).save(path, **options)
        items.append(Item(str(index), path, path))
    return draft_classes(items)


def values_of(text: str, tmp_path) -> tuple:
    (tmp_path / "classes.yaml").write_text(text)
    return read_classes(tmp_path / "classes.yaml").source_values


def softened(mask: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(mask, (5, 5), 0)


def resized(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, (130, 130), interpolation=cv2.INTER_LINEAR)


def through_jpeg(mask: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], -1)


@pytest.mark.parametrize("change", [softened, resized, through_jpeg])
def test_values_of_smooth_edges_are_named_and_not_drafted(change, tmp_path: Path) -> None:
    text = draft_text(tmp_path, change(disc(255)), change(disc(255, 0)[::-1].copy()))
    assert values_of(text, tmp_path) == (0, 255)
    assert "noise of smooth edges" in text
    assert "To have 128 decide instead" in text


@pytest.mark.parametrize("quality", [10, 60, 95])
def test_values_of_jpeg_files_are_named_and_not_drafted(quality, tmp_path: Path) -> None:
    text = draft_text(tmp_path, disc(255), suffix=".jpg", quality=quality)
    assert values_of(text, tmp_path) == (0, 255)
    assert "noise of compression (JPEG or AVIF)" in text


@pytest.mark.parametrize("value", [1, 20])
def test_a_jpeg_class_near_another_is_not_lost(value, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not tell which are those of classes"):
        draft_text(tmp_path, disc(value), suffix=".jpg", quality=75)


def test_classes_in_jpeg_that_lie_too_close_are_not_guessed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 12, (10, 10), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1) * 9
    with pytest.raises(UserError, match=r"1 of 1 masks are JPEG.*export the masks again as PNG"):
        draft_text(tmp_path, mask, suffix=".jpg", quality=20)


def test_index_masks_resized_smoothly_keep_their_classes(tmp_path: Path) -> None:
    mask = disc(40)
    mask[50:, 50:] = 90
    mask[:20, :20] = 200
    text = draft_text(tmp_path, softened(mask))
    assert values_of(text, tmp_path) == (0, 40, 90, 200)


def test_few_stray_values_are_named_and_not_drafted(tmp_path: Path) -> None:
    mask = disc(1)
    mask[3, 3], mask[70, 9] = 2, 17
    text = draft_text(tmp_path, mask)
    assert values_of(text, tmp_path) == (0, 1)
    assert "2 more values, such as 2, 17" in text or "2 more values, such as 17, 2" in text


def test_colors_of_smooth_edges_are_not_drafted(tmp_path: Path) -> None:
    mask = np.dstack([disc(250), disc(30, 200), disc(10)])
    assert values_of(draft_text(tmp_path, softened(mask)), tmp_path) == ((0, 200, 0), (250, 30, 10))


def test_a_thin_class_and_a_small_one_are_drafted(tmp_path: Path) -> None:
    mask = disc(1)
    mask[:, 60] = 2  # a line of one pixel
    mask[4:7, 4:7] = 3  # nine pixels
    assert values_of(draft_text(tmp_path, mask), tmp_path) == (0, 1, 2, 3)


def test_the_rule_in_the_heading_makes_smooth_masks_usable(tmp_path: Path) -> None:
    text = draft_text(tmp_path, softened(disc(255)))
    low, high = (line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("#   of"))
    classes = f"classes: [{{name: disc, color: [9, 9, 9], values: {high}}}]\nbackground: {low}\n"
    (tmp_path / "classes.yaml").write_text(classes)
    item = Item("0", tmp_path / "0.png", tmp_path / "0.png")
    assert set(np.unique(read_labels(item, read_classes(tmp_path / "classes.yaml")))) == {0, 1}
