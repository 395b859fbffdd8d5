"""Overlays blend class colours with the image, and list the classes beside it."""

import numpy as np
import pytest
import simplejpeg

from segmenter.classes import Classes
from segmenter.drawing import class_shares, encode_jpeg, overlay, overlay_with_legend
from segmenter.drawing.overlay import _entries, _Legend

COLORS = np.array([[200, 0, 0], [0, 200, 0]], dtype=np.uint8)
BACKGROUND = 255


def make_classes(names: list[str]) -> Classes:
    return Classes.model_validate(
        {
            "classes": [
                {"name": name, "color": [7 * i % 256, i // 256, 99], "values": [i]}
                for i, name in enumerate(names)
            ]
        }
    )


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def halves(height: int, width: int) -> np.ndarray:
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[:, width // 2 :] = 1
    return labels


def test_without_opacity_the_image_shows_and_with_full_opacity_the_colors() -> None:
    labels = np.zeros((4, 6), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(grey(4, 6), labels, COLORS, 0.0), grey(4, 6))
    assert (overlay(grey(4, 6), labels, COLORS, 1.0) == COLORS[0]).all()


def test_half_opacity_lies_halfway() -> None:
    drawn = overlay(grey(4, 20), halves(4, 20), COLORS)
    np.testing.assert_array_equal(drawn[0, 0], [150, 50, 50])
    np.testing.assert_array_equal(drawn[0, -1], [50, 150, 50])


def test_ignored_pixels_show_the_image() -> None:
    labels = np.full((4, 6), 255, dtype=np.uint8)
    np.testing.assert_array_equal(overlay(grey(4, 6), labels, COLORS), grey(4, 6))


def test_a_line_stands_between_classes_and_nowhere_else() -> None:
    drawn = overlay(grey(4, 20), halves(4, 20), COLORS)
    is_bright = (drawn > 150).all(axis=2)
    assert is_bright[:, 10].all()
    assert is_bright.sum() == 4


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_drawn_as_it_is(size: tuple[int, int]) -> None:
    image = np.empty((*size, 3), dtype=np.uint8)
    assert overlay(image, np.empty(size, dtype=np.uint8), COLORS).shape == image.shape


def test_the_image_is_not_changed() -> None:
    image = grey(4, 20)
    overlay(image, halves(4, 20), COLORS)
    assert (image == 100).all()


def test_shares_are_of_labelled_pixels() -> None:
    labels = np.array([[0, 0, 0, 1, 255, 255]], dtype=np.uint8)
    np.testing.assert_allclose(class_shares(labels, 3), [0.75, 0.25, 0])
    np.testing.assert_array_equal(class_shares(labels[:, 4:], 3), [0, 0, 0])


def test_the_legend_lists_only_what_occurs_the_largest_first() -> None:
    classes = make_classes(["sky", "road", "car"])
    entries = _entries(classes, np.array([0.0004, 0.9996, 0.0]))
    assert [(entry.name, entry.share) for entry in entries] == [
        ("road", "100.0 %"),
        ("sky", "<0.1 %"),
    ]


def test_a_long_legend_sums_up_the_smallest_classes() -> None:
    entries = _entries(make_classes([f"c{i}" for i in range(150)]), np.full(150, 1 / 150))
    assert len(entries) == 40
    assert (entries[-1].name, entries[-1].share) == ("111 more", "74.0 %")


def test_a_long_name_ends_with_an_ellipsis() -> None:
    entries = _entries(make_classes(["n" * 100, "short"]), np.array([0.5, 0.5]))
    names = [entry.name for entry in _Legend.arrange(entries, (400, 600)).entries]
    assert names[0].endswith("n…")
    assert len(names[0]) < 40
    assert names[1] == "short"


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (200, 200)])
def test_the_legend_is_below_a_wide_image_and_beside_a_tall_one(height, width) -> None:
    classes = make_classes(["sky", "road"])
    image, labels = grey(height, width), halves(height, width)
    drawn = overlay_with_legend(image, labels, classes)
    np.testing.assert_array_equal(drawn[:height, :width], overlay(image, labels, classes.colors))
    assert (drawn.shape[0] > height) == (width >= height)
    assert (drawn.shape[1] > width) == (width < height)


def test_text_grows_with_the_image_and_never_gets_too_small() -> None:
    sizes = [_Legend.arrange([], (side, side)).text_size for side in (1, 200, 2000, 6000)]
    assert sizes[0] == sizes[1] == 13
    assert sizes[2:] == [40, 120]


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 4000), (4000, 1), (15, 15), (600, 800)])
@pytest.mark.parametrize("num_classes", [1, 2, 50])
def test_every_entry_is_drawn_inside_the_picture(image_hw, num_classes) -> None:
    classes = make_classes([f"class number {i}" for i in range(num_classes)])
    entries = _entries(classes, np.full(num_classes, 1 / num_classes))
    legend = _Legend.arrange(entries, image_hw)
    labels = np.zeros(image_hw, dtype=np.uint8)
    drawn = overlay_with_legend(
        grey(*image_hw), labels, classes, shares=np.full(num_classes, 1 / num_classes)
    )
    panel = drawn[image_hw[0] :, : legend.width]
    if not legend.is_below:
        panel = drawn[: legend.height, image_hw[1] :]
    assert (panel != BACKGROUND).any()
    for edge in (panel[:3], panel[-3:], panel[:, :3], panel[:, -3:]):
        assert (edge == BACKGROUND).all()


def test_a_image_without_labels_has_no_legend() -> None:
    labels = np.full((20, 30), 255, dtype=np.uint8)
    assert overlay_with_legend(grey(20, 30), labels, make_classes(["sky"])).shape == (20, 30, 3)


def test_a_jpeg_is_close_to_the_picture_it_was_made_from() -> None:
    picture = np.ascontiguousarray(overlay(grey(40, 60), halves(40, 60), COLORS)[:, ::-1])[:, ::-1]
    read = simplejpeg.decode_jpeg(encode_jpeg(picture))
    assert np.abs(read.astype(int) - picture).mean() < 2


def test_a_picture_too_long_for_jpeg_is_made_smaller() -> None:
    read = simplejpeg.decode_jpeg(encode_jpeg(grey(2, 70_000)))
    assert read.shape == (1, 65_500, 3)
