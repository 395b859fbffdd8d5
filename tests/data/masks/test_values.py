"""Mask values become class indices, and each value without a class is told."""

import pickle

import numpy as np
import pytest
import yaml

from segmenter.classes import Classes
from segmenter.data.masks.values import MaskError, map_values, pack_colors
from segmenter.errors import UserError


def make_classes(*values, ignore=(255,)) -> Classes:
    infos = [
        {"name": f"class-{index}", "color": [index % 256, 0, 0], "values": list(listed)}
        for index, listed in enumerate(values)
    ]
    return Classes.model_validate({"classes": infos, "ignore": list(ignore)})


def grey(*rows) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


def test_values_become_indices_and_ignored_ones_the_ignore_index() -> None:
    labels = map_values(grey([7, 0], [255, 9]), make_classes([0], [7, 9]), "mask")
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[1, 0], [255, 1]]


def test_a_class_that_lists_255_wins_over_ignoring_it() -> None:
    assert map_values(grey([0, 255]), make_classes([0], [255]), "mask").tolist() == [[0, 1]]


def test_more_than_255_classes_give_16_bit_labels() -> None:
    classes = make_classes(*([value] for value in range(300)), ignore=[65535])
    labels = map_values(np.array([[299, 65535]], dtype=np.uint16), classes, "mask")
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[299, 65535]]


def test_colors_become_indices_as_a_loop_over_classes_would_give() -> None:
    colors = [[0, 0, 0], [128, 64, 128], [255, 255, 255], [1, 2, 3]]
    classes = make_classes([colors[0]], [colors[1], colors[2]], ignore=[colors[3]])
    indices = np.random.default_rng(0).integers(0, 4, (50, 70))
    raw = np.array(colors, dtype=np.uint8)[indices]
    assert np.array_equal(map_values(raw, classes, "mask"), np.array([0, 1, 1, 255])[indices])


def test_a_grey_mask_saved_as_rgb_is_read_as_grey() -> None:
    raw = np.repeat(grey([0, 7])[:, :, None], 3, axis=2)
    assert map_values(raw, make_classes([0], [7]), "mask").tolist() == [[0, 1]]


def test_a_grey_mask_is_read_as_rgb_where_classes_are_colors() -> None:
    classes = make_classes([[0, 0, 0]], [[9, 9, 9]])
    assert map_values(grey([0, 9]), classes, "mask").tolist() == [[0, 1]]


def test_an_unknown_value_is_named_with_its_count_and_a_line_that_mends_it() -> None:
    with pytest.raises(UserError, match=r"a\.png: value 7 at 2 pixels.*and 1 more") as caught:
        map_values(grey([0, 7], [7, 8]), make_classes([0]), "a.png")
    line = str(caught.value).split('"')[1]
    entry = yaml.safe_load(line)[0]
    mended = make_classes([0]).model_dump(mode="json")
    mended["classes"].append(entry)
    assert map_values(grey([0, 7]), Classes.model_validate(mended), "a.png").tolist() == [[0, 1]]
    assert "ignore: [255, 7]" in str(caught.value)


def test_an_unknown_color_is_named_with_a_line_that_mends_it() -> None:
    raw = np.array([[[0, 0, 0], [9, 8, 7]]], dtype=np.uint8)
    with pytest.raises(UserError, match=r"values: \[\[9, 8, 7\]\]") as caught:
        map_values(raw, make_classes([[0, 0, 0]]), "a.png")
    assert "ignore: [255, [9, 8, 7]]" in str(caught.value)


def test_many_unknown_values_hint_at_a_smoothed_mask() -> None:
    with pytest.raises(UserError, match="JPEG"):
        map_values(np.arange(100, dtype=np.uint8)[None], make_classes([0]), "a.png")


def test_kinds_of_masks_that_do_not_fit_the_classes_are_explained() -> None:
    raw = np.array([[[0, 0, 0], [9, 8, 7]]], dtype=np.uint8)
    with pytest.raises(UserError, match=r"RGB mask.*grey values"):
        map_values(raw, make_classes([0]), "a.png")
    with pytest.raises(UserError, match=r"16-bit.*RGB"):
        map_values(np.array([[300]], dtype=np.uint16), make_classes([[0, 0, 0]]), "a.png")


def test_packed_colors_differ_where_colors_do() -> None:
    raw = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]], dtype=np.uint8)
    assert pack_colors(raw).tolist() == [[65536, 256, 1]]


def test_an_error_comes_whole_out_of_another_process() -> None:
    error = pickle.loads(pickle.dumps(MaskError("a.png is RGB", "rgb-mask", ((7, 3),))))
    assert (str(error), error.kind, error.values) == ("a.png is RGB", "rgb-mask", ((7, 3),))
