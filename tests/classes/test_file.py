"""What a person may write in a `classes.yaml`, and what is said of the rest."""

from pathlib import Path

import pytest

from segmenter.classes import Classes, read_classes
from segmenter.classes.colors import distinct_colors
from segmenter.errors import UserError

STRICT = "{name: a, color: [128, 128, 128], values: [1]}"
FOREIGN_WORDS = (
    "tuple",
    "dictionary",
    "instance",
    "nput should",
    "pydantic",
    "expected <",
    "constructor",
    "token",
    "mapping values",
    "pattern",
    "valid string",
)


def read(folder: Path, text: str) -> Classes:
    path = folder / "classes.yaml"
    path.write_text(text, encoding="utf-8")
    return read_classes(path)


@pytest.mark.parametrize(
    "text",
    [
        "classes: [{name: a, color: '#808080', values: [1]}]",
        "classes: [{name: a, color: '#888', values: 1}]",
        "ignore: 255\nclasses: [{name: a, color: [128, 128, 128], values: 1}]",
    ],
)
def test_hex_colours_and_single_values_are_accepted(tmp_path: Path, text) -> None:
    found = read(tmp_path, text)
    assert found.classes[0].values == (1,)
    assert found.ignore == (255,)
    assert found.classes[0].color in {(128, 128, 128), (136, 136, 136)}


def test_a_colour_may_be_a_mask_value_in_hex(tmp_path: Path) -> None:
    found = read(
        tmp_path, "ignore: '#000000'\nclasses: [{name: a, color: '#FF8000', values: '#ff8000'}]"
    )
    assert found.classes[0].values == ((255, 128, 0),)
    assert found.ignore == ((0, 0, 0),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# only a comment\n", "is empty; it lists the classes, such as"),
        ("", "is empty"),
        ("hello", "holds hello, no keys"),
        (f"- {STRICT}", 'write "classes:" in the line above'),
        (
            "names:\n  0: sky\n  1: building\n  2: a\n",
            "{name: sky, color: [60, 0, 0], values: [0]}",
        ),
        ("names: [sky, building]", "as the data.yaml of YOLO does"),
        ("names: 3", "unknown key 'names'"),
        ("classes: {sky: 0}", "classes: a list with an entry for each class"),
        ("classes: [sky, road]", "classes.0: an entry has a name, values and"),
        ("classes:", "classes: a list"),
        (STRICT.join(["classes: [", "]"]).replace("name: a", "name: no"), 'in quotes: "no"'),
        ("classes: [{name: on, color: '#000', values: 1}]", 'in quotes: "yes"'),
        ("classes: [{name: 12, color: '#000', values: 1}]", 'put it in quotes: "12"'),
        ("classes: [{name: null, color: '#000', values: 1}]", "classes.0.name is empty"),
        ("classes: [{name: ' ', color: '#000', values: 1}]", "is blank"),
        (f"classes: [{{name: {'a' * 101}, color: '#000', values: 1}}]", "at most 100"),
        ('classes: [{name: "a\\nb", color: "#000", values: 1}]', "a line break or control"),
        ("classes: [{name: a, color: [1, 2, 3, 255], values: 1}]", "a fourth for alpha"),
        ("classes: [{name: a, color: '#112233ff', values: 1}]", "a fourth for alpha"),
        ("classes: [{name: a, color: red, values: 1}]", "a colour is three numbers"),
        ("classes:\n  - name: a\n    color: #808080\n    values: 1\n", "# begins a comment"),
        ("classes: [{name: a, color: [0.5, 0, 0], values: 1}]", "whole numbers from 0 to 255"),
        ("classes: [{name: a, color: [yes, 0, 0], values: 1}]", "whole numbers from 0 to 255"),
        ("classes: [{name: a, color: [1, 2, 3], values: '1'}]", "omit the quotes"),
        ("classes: [{name: a, color: [1, 2, 3], values: 70000}]", "from 0 to 65535, got 70000"),
        ("classes: [{name: a, color: [1, 2, 3], values: 0-5}]", "whole numbers from 0 to 65535"),
        ("classes: [{name: a, color: [1, 2, 3], values: {a: 1}}]", "got a mapping"),
        (f"ignore:\nclasses: [{STRICT}]", "ignore is empty"),
        (f"image_bits: twelve\nclasses: [{STRICT}]", "image_bits: whole numbers from 8 to 16"),
        (f"image_bits: 20\nclasses: [{STRICT}]", "from 8 to 16, got 20"),
        (f"classes: [{STRICT}, {STRICT}", "a list that is not closed"),
        (f"classes: {STRICT[:-1]}", "a brace that is not closed"),
        ("classes:\n\t- a\n", "a tab"),
        ("classes: a: b\n", "a colon that begins no value"),
        ("classes: !!python/object:os.system []\n", "a tag"),
        ("classes: [{name: 'a, color: 1}]\n", "text in quotes that is not closed"),
        ("classes: [{name: *a}]\n", "a name after *"),
        ("classes:\n - a\n  - b\nignore: 1\n c: 2\n", "look at"),
        ("--- 1\n--- 2\n", "a second document"),
        ("classes: [{name: @a}]\n", "put the text in quotes"),
        ("classes: []\nclasses: []\n", "given twice"),
        ("classes: \x01\n", "a control character"),
    ],
)
def test_mistakes_are_said_in_our_words(tmp_path: Path, text, said) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert len(message) < 500 + len(str(tmp_path))
    assert not [word for word in FOREIGN_WORDS if word in message]


def test_many_classes_are_checked_at_once(tmp_path: Path) -> None:
    entries = "\n".join(
        f"  - {{name: c{index}, color: [0, 0, 0], values: [{index}]}}" for index in range(5000)
    )
    assert len(read(tmp_path, f"ignore: []\nclasses:\n{entries}\n")) == 5000


def test_colours_may_be_left_out_and_are_chosen_always_the_same(tmp_path: Path) -> None:
    text = "classes: [{name: a, values: [1]}, {name: b, values: 2}, {name: c, values: [3]}]"
    found = read(tmp_path, text)
    assert [info.color for info in found.classes] == list(map(tuple, distinct_colors(3).tolist()))
    assert read(tmp_path, text) == found
    assert read(tmp_path, found.to_yaml()) == found


def test_a_chosen_colour_is_none_that_is_given(tmp_path: Path) -> None:
    first = list(map(int, distinct_colors(1)[0]))
    entries = [f"{{name: a, color: {first}, values: [0]}}"]
    entries += [f"{{name: b{value}, values: [{value}]}}" for value in range(1, 20)]
    found = read(tmp_path, f"classes: [{', '.join(entries)}]")
    assert found.classes[0].color == tuple(first)
    assert len({info.color for info in found.classes}) == 20


def test_of_a_colour_mask_the_colour_left_out_is_the_masks_own(tmp_path: Path) -> None:
    found = read(
        tmp_path, "classes: [{name: a, values: ['#ff8000']}, {name: b, values: [[0, 9, 0]]}]"
    )
    assert [info.color for info in found.classes] == [(255, 128, 0), (0, 9, 0)]
