"""The line that says at which size images are shown."""

import pytest

from segmenter.inference.shown_size import shown_size
from segmenter.model import EvaluationProtocol

SMALL = EvaluationProtocol(short_side=560)


def test_things_that_get_lost_are_told_where_an_image_is_made_much_smaller() -> None:
    assert shown_size([(3648, 5472)], SMALL, 14) == (
        "images of 5472 x 3648 are shown at a short side of 560 (15 %): things under 92 pixels are "
        "smaller than one patch; --short-side 1120 shows more"
    )


@pytest.mark.parametrize(
    ("sizes", "protocol", "expected"),
    [
        ([(966, 1296)], SMALL, "images of 1296 x 966 are shown at a short side of 560 (58 %)"),
        ([(360, 480)], SMALL, "images of 480 x 360 are shown at a short side of 560 (156 %)"),
        ([(360, 480)], EvaluationProtocol(), "images of 480 x 360 are shown at their own size"),
        (
            [(360, 480), (600, 600), (0, 9)],
            SMALL,
            "images of up to 600 x 600 are shown at a short side of 560 (93 %)",
        ),
    ],
)
def test_else_the_line_is_short(
    sizes: list[tuple[int, int]], protocol: EvaluationProtocol, expected: str
) -> None:
    assert shown_size(sizes, protocol, 14) == expected


def test_no_more_is_offered_than_an_image_has() -> None:
    line = shown_size([(1200, 1200)], SMALL, 14, "--protocol.short_side")
    assert line is not None
    assert line.endswith("; --protocol.short_side 1120 shows more")
    line = shown_size([(900, 900)], EvaluationProtocol(short_side=448), 14)
    assert line is not None
    assert line.endswith("; --short-side 896 shows more")


def test_where_more_images_are_than_were_looked_at_the_line_says_so() -> None:
    assert shown_size([(360, 480), (300, 400)], EvaluationProtocol(), 14, num_seen=2) == (
        "images of up to 480 x 360 (2 looked at) are shown at their own size"
    )


def test_of_no_image_nothing_is_said() -> None:
    assert shown_size([], SMALL, 14) is None
