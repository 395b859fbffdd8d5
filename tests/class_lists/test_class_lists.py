"""The class lists have the right names, order and colours."""

import pytest

from segmenter.class_lists import read_class_list
from segmenter.data.published import set_of_count


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("ade20k", 150, {0: "wall", 12: "person", 58: "screen door", 149: "flag"}),
        ("cityscapes", 19, {0: "road", 11: "person", 18: "bicycle"}),
        ("pascal_context", 60, {0: "background", 37: "person", 59: "wood"}),
        ("pascal_context_59", 59, {0: "aeroplane", 36: "person", 58: "wood"}),
    ],
)
def test_names_stand_in_their_order(name: str, count: int, some: dict[int, str]) -> None:
    classes = read_class_list(name)
    found = set_of_count(count)
    assert found is not None
    assert found.classes() == classes
    assert len(classes) == count
    assert {index: classes.names[index] for index in some} == some


def test_colors_and_mask_values_are_the_data_sets_own() -> None:
    ade, city = read_class_list("ade20k"), read_class_list("cityscapes")
    assert ade.colors[[0, 149]].tolist() == [[120, 120, 120], [92, 0, 255]]
    assert ade.source_values == tuple(range(1, 151))
    assert city.colors[[0, 18]].tolist() == [[128, 64, 128], [119, 11, 32]]
    assert city.source_values[:4] == (7, 8, 11, 12)
    mapped = {value for info in city.classes for value in info.values} | set(city.ignore)
    assert mapped == {*range(34), 255}


def test_other_counts_have_no_list() -> None:
    assert set_of_count(11) is None
