"""Published protocols: what each code base does, written out once more."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

import segmenter
from segmenter import UserError
from segmenter.model.protocol import (
    PUBLISHED_PROTOCOLS,
    SYMMETRIES,
    EvaluationProtocol,
    SymmetryName,
    published_protocol,
)
from segmenter.options import Symmetry
from segmenter.recipe import read_recipe
from segmenter.training.model_spec import _protocol


@pytest.mark.parametrize(
    ("name", "stride", "dtype", "rounding", "small", "average", "scales_of", "absent"),
    [
        ("paddleseg", 512, "float32", "half-even", "as-is", "logits", "resized", "one"),
        ("segmenter", 512, "uint8", "half-up", "enlarge", "probabilities", "photo", "skip"),
        ("segmenter-miou", 480, "uint8", "half-up", "enlarge", "probabilities", "photo", "skip"),
        ("mmseg", 480, "uint8", "half-up", "as-is", "probabilities", "photo", "skip"),
        ("eomt", 512, "uint8", "half-even", "as-is", "logits", "resized", "zero"),
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
        assert EvaluationProtocol.model_validate({**protocol.model_dump(), "flip": True}).flip


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no protocol 'padleseg', did you mean 'paddleseg'.*mmseg"):
        published_protocol("padleseg", window=512)


def test_a_stride_longer_than_the_window_is_an_error() -> None:
    with pytest.raises(UserError, match="stride 600 is larger than window 512"):
        published_protocol("segmenter", window=512, stride=600)


def test_the_name_of_0_1_0_is_the_same_class() -> None:
    assert segmenter.Protocol is EvaluationProtocol


@pytest.mark.parametrize("name", SYMMETRIES)
def test_a_symmetry_becomes_two_fields_and_a_protocol_without_turns_is_dumped_as_before(
    name: SymmetryName,
) -> None:
    protocol = EvaluationProtocol.model_validate({"symmetry": name})
    dumped = protocol.model_dump(mode="json")
    assert protocol.symmetry is None
    assert "symmetry" not in dumped
    assert ("rotations" in dumped) == (name in {"flips", "d4"})
    assert EvaluationProtocol.model_validate(dumped) == protocol
    assert protocol.num_orientations == {"none": 1, "mirror": 2, "flips": 4, "d4": 8}[name]


def test_options_know_all_symmetries() -> None:
    assert get_args(Symmetry) == tuple(SYMMETRIES)


@pytest.mark.parametrize("rotations", [0, 3, True, "2", 2.0])
def test_rotations_are_1_2_or_4(rotations: object) -> None:
    with pytest.raises(ValidationError):
        EvaluationProtocol.model_validate({"rotations": rotations})


@pytest.mark.parametrize("name", SYMMETRIES)
def test_a_copy_takes_a_symmetry_as_the_check_of_fields_does(name: str) -> None:
    before = EvaluationProtocol(window=64, stride=40, symmetry="d4")
    copied = before.model_copy(update={"symmetry": name, "window": 80})
    assert copied == EvaluationProtocol.model_validate(
        {"window": 80, "stride": 40, "symmetry": name}
    )
    assert before.model_copy() == before.model_copy(update={"symmetry": None}) == before


def test_a_copy_with_an_unknown_or_contradicted_symmetry_is_refused() -> None:
    with pytest.raises(UserError, match=r"no symmetry 'd3'.*none, mirror, flips, d4"):
        EvaluationProtocol().model_copy(update={"symmetry": "d3"})
    with pytest.raises(UserError, match="symmetry d4 means flip true, got false"):
        EvaluationProtocol().model_copy(update={"symmetry": "d4", "flip": False})


@pytest.mark.parametrize("rules", [None, "segmenter"])
def test_a_recipe_takes_a_symmetry_in_place_of_the_fields_of_its_file(
    rules: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(read_recipe("finetune").to_yaml())
    assert "flip: false" in path.read_text().partition("protocol:")[2]
    changes = {"symmetry": "d4", "window": 64, "stride": 64, "short-side": 64, "rules": rules}
    recipe = read_recipe(str(path), {"protocol": changes})
    found = _protocol(recipe)
    assert (found.flip, found.rotations) == (True, 4)
    with pytest.raises(UserError, match="symmetry d4 means flip true, got false"):
        read_recipe(str(path), {"protocol": {"symmetry": "d4", "flip": False}})
