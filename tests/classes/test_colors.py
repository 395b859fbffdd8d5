"""Colours that are chosen can be told apart."""

import cv2
import numpy as np

from segmenter.classes.colors import colors_for_all, distinct_colors


def lab(colors: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]


def test_a_palette_begins_with_the_shorter_palettes() -> None:
    colors = distinct_colors(300)
    for count in (0, 1, 20, 256, 257):
        np.testing.assert_array_equal(distinct_colors(count), colors[:count])


def test_thirty_colors_look_far_apart_and_differ_from_black_and_white() -> None:
    black_and_white = np.array([[0, 0, 0], [255, 255, 255]], dtype=np.uint8)
    points = lab(np.concatenate([distinct_colors(30), black_and_white]))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 15


def test_as_many_colors_as_there_can_be_classes_all_differ() -> None:
    assert len(np.unique(distinct_colors(65534), axis=0)) == 65534


def as_deuteranopes_see(colors: np.ndarray) -> np.ndarray:
    """Machado, Oliveira and Fernandes (2009), severity 1."""
    matrix = np.array(
        [
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.011820, 0.042940, 0.968881),
        ]
    )
    linear = (colors / 255) ** 2.2 @ matrix.T
    return np.rint(255 * linear.clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


def test_colors_for_all_are_apart_for_deuteranopes_too_where_distinct_ones_are_not() -> None:
    least = []
    for choose in (colors_for_all, distinct_colors):
        points = lab(as_deuteranopes_see(choose(19)))
        distances = np.linalg.norm(points[:, None] - points, axis=2)
        least.append(distances[~np.eye(19, dtype=bool)].min())
    assert least[0] > 10
    assert least[0] > 2 * least[1]


def test_a_palette_for_all_begins_with_the_shorter_palettes() -> None:
    colors = colors_for_all(300)
    assert len(np.unique(colors, axis=0)) == 300
    for count in (0, 1, 20, 257):
        np.testing.assert_array_equal(colors_for_all(count), colors[:count])
