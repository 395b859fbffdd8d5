"""`classes.yaml`: what it can say, and what it may not."""

from pathlib import Path

import pytest

from segmenter import UserError
from segmenter.classes import Classes, pack_rgb, read_classes
from tests.helpers.models import make_classes

A = "{name: a, color: [0, 0, 0], values: [1]}"


def classes(*values: object, ignore: object = ()) -> Classes:
    entries = [
        {"name": f"c{i}", "color": [i, 0, 0], "values": list(v)} for i, v in enumerate(values)
    ]
    return Classes.model_validate({"classes": entries, "ignore": list(ignore)})


def test_grey_values_are_merged_dropped_and_unknown_ones_marked() -> None:
    table = classes([7, 9], [300], ignore=[0]).grey_table()
    assert table[[7, 9, 300, 0, 5]].tolist() == [0, 0, 1, 255, -1]


def test_rgb_values_have_a_table_of_their_own() -> None:
    described = classes([(255, 0, 0)], [(0, 0, 1), (0, 0, 2)], ignore=[(9, 9, 9)])
    assert described.is_rgb
    table = described.color_table()
    assert [table[pack_rgb(c)] for c in [(255, 0, 0), (0, 0, 2), (9, 9, 9)]] == [0, 1, 255]


def test_a_binary_mask_may_use_255_for_a_class() -> None:
    assert classes([0], [255], ignore=[]).grey_table()[255] == 1


def test_one_class_and_its_background_are_labels_1_and_0(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(f"background: [0, 7]\nclasses: [{A}]")
    one = read_classes(tmp_path / "classes.yaml")
    assert one.grey_table()[[0, 1, 7, 255, 3]].tolist() == [0, 1, 0, 255, -1]
    assert (one.names, one.source_values, len(one)) == (("background", "a"), (0, 1), 2)
    assert one.colors.tolist() == [[0, 0, 0], [0, 0, 0]]
    (tmp_path / "again.yaml").write_text(one.to_yaml())
    assert read_classes(tmp_path / "again.yaml") == one


def test_a_background_may_be_a_colour() -> None:
    entry = {"name": "c", "color": [1, 0, 0], "values": [[9, 9, 9]]}
    table = Classes.model_validate({"classes": [entry], "background": [[0, 0, 1]]}).color_table()
    assert (table[pack_rgb((0, 0, 1))], table[pack_rgb((9, 9, 9))]) == (0, 1)


def test_more_than_255_classes_have_16_bit_labels() -> None:
    many = make_classes(300)
    assert many.ignore_index == 65535
    assert many.label_dtype(many.ignore_index) == 65535


@pytest.mark.parametrize("number", [1, 3, 300])
def test_classes_written_as_yaml_read_back_equal(tmp_path: Path, number: int) -> None:
    original = make_classes(number)
    (tmp_path / "classes.yaml").write_text(original.to_yaml())
    assert read_classes(tmp_path / "classes.yaml") == original


@pytest.mark.parametrize(
    "name", ["yes", "no: thing", "{a}", "'quoted\"", "- x", "ünïcode", "123", "#5"]
)
def test_odd_class_names_survive_yaml(tmp_path: Path, name: str) -> None:
    original = Classes.model_validate(
        {"classes": [{"name": name, "color": [1, 2, 3], "values": [4]}]}
    )
    (tmp_path / "classes.yaml").write_text(original.to_yaml(), encoding="utf-8")
    assert read_classes(tmp_path / "classes.yaml") == original


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: []", "classes: "),
        ("classes: [{name: a, color: [0, 0, 0]}]", "'classes.0.values' is missing"),
        (
            "classes: [{name: a, color: [0, 0, 300], values: [1]}]",
            "whole numbers from 0 to 255, got 300",
        ),
        (
            "classes: [{name: a, color: [0, 0, 0], values: [1], id: 3}]",
            "unknown key 'classes.0.id'",
        ),
        ("class: []", "unknown key 'class', did you mean 'classes'"),
        (
            f"classes: [{A}, {{name: b, color: [0, 0, 0], values: [1]}}]",
            "mask value 1 belongs to 'a' and to 'b'",
        ),
        (
            f"classes: [{A}, {{name: a, color: [0, 0, 0], values: [2]}}]",
            "two classes have the name 'a'",
        ),
        (
            f"classes: [{A}, {{name: b, color: [0, 0, 0], values: [[1, 2, 3]]}}]",
            "grey values in some classes and RGB in others",
        ),
        (
            f"background: [0]\nclasses: [{A}, {{name: b, color: [0, 0, 0], values: [2]}}]",
            "background is for one class, there are 2",
        ),
        (f"background: [1]\nclasses: [{A}]", "mask value 1 belongs to 'background' and to 'a'"),
        (f"background: [[0, 0, 0]]\nclasses: [{A}]", "grey values in some classes and RGB in"),
        (
            f"background: [0]\nclasses: [{A.replace('name: a', 'name: background')}]",
            "two classes have the name 'background'",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_classes(tmp_path / "classes.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
