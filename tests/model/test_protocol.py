"""Published protocols: what each code base does, written out once more."""

import pytest

from segmenter import UserError
from segmenter.model.protocol import PUBLISHED_PROTOCOLS, Protocol, published_protocol


@pytest.mark.parametrize(
    ("name", "stride", "dtype", "rounding", "small", "average", "scales_of", "absent"),
    [
        ("paddleseg", 512, "float32", "half-even", "as-is", "logits", "resized", "one"),
        ("segmenter", 512, "uint8", "half-up", "enlarge", "probabilities", "photo", "skip"),
        ("segmenter-miou", 480, "uint8", "half-up", "enlarge", "probabilities", "photo", "skip"),
        ("mmseg", 480, "uint8", "half-up", "as-is", "probabilities", "photo", "skip"),
    ],
)
def test_a_published_protocol_has_the_numbers_of_its_code_base(
    name: str,
    stride: int,
    dtype: str,
    rounding: str,
    small: str,
    average: str,
    scales_of: str,
    absent: str,
) -> None:
    protocol = published_protocol(name, window=512)
    assert (protocol.name, protocol.short_side, protocol.window) == (name, 512, 512)
    assert (protocol.stride, protocol.resize_dtype, protocol.rounding) == (stride, dtype, rounding)
    assert (protocol.small_image, protocol.average) == (small, average)
    assert (protocol.scales_of, protocol.absent_classes) == (scales_of, absent)
    assert (protocol.flip, protocol.scales) == (False, (1.0,))


@pytest.mark.parametrize(("window", "stride"), [(480, 448), (768, 736), (640, 608), (32, 32)])
def test_the_papers_scores_were_made_with_windows_that_overlap_by_32(
    window: int, stride: int
) -> None:
    assert published_protocol("segmenter-miou", window=window, stride=320).stride == stride


def test_the_papers_own_stride_and_ratio_are_kept() -> None:
    protocol = published_protocol(
        "segmenter", window=480, stride=320, short_side=520, max_ratio=8.0
    )
    assert (protocol.stride, protocol.short_side, protocol.max_ratio) == (320, 520, 8.0)


def test_each_field_can_be_changed_alone() -> None:
    for name in PUBLISHED_PROTOCOLS:
        protocol = published_protocol(name, window=None)
        assert Protocol.model_validate({**protocol.model_dump(), "flip": True}).flip


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no protocol 'padleseg', did you mean 'paddleseg'.*mmseg"):
        published_protocol("padleseg", window=512)


def test_a_stride_longer_than_the_window_is_an_error() -> None:
    with pytest.raises(UserError, match="stride 600 is larger than window 512"):
        published_protocol("segmenter", window=512, stride=600)
