"""Names that differ by constants are paired; what fits equally well is left to the caller."""

import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from segmenter.data.pairing.name_rules import SAME_NAME, NameRule, find_rules

NAMES = ["cat", "dog_2", "3", "0016E5_07961", "berlin-000"]
CONSTANTS = st.text(string.ascii_lowercase + "_-", max_size=6)


def pairs(images: list[str], masks: list[str]) -> dict[str, str]:
    """What the only rule pairs."""
    (found,) = find_rules(images, masks)
    return dict(found.pairs)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}", "{}_mask"),
        ("{}", "mask_{}"),
        ("{}", "{}-seg-v2"),
        ("{}", "{}_manual1"),
        ("img_{}", "mask_{}"),
        ("{}_leftImg8bit", "{}_gtFine_labelIds"),
        ("{}_rgb", "{}"),
        ("photo {}", "{} (label)"),
        ("image{}x", "label{}y"),
        ("train/{}", "train/{}_P"),
        ("a/b/{}_sat", "a/b/{}_msk"),
    ],
)
def test_a_constant_difference_pairs_all_names(image: str, mask: str) -> None:
    expected = {image.format(name): mask.format(name) for name in NAMES}
    assert pairs(list(expected), list(expected.values())) == expected


@settings(max_examples=60)
@given(st.sets(st.integers(0, 99999), min_size=2, max_size=30), st.tuples(*4 * [CONSTANTS]))
def test_numbers_between_any_constants_are_paired_with_their_own(
    numbers: set[int], constants: tuple[str, str, str, str]
) -> None:
    before, after, mask_before, mask_after = constants
    expected = {
        f"{before}{number:05d}{after}": f"{mask_before}{number:05d}{mask_after}"
        for number in numbers
    }
    assume((before, after) != (mask_before, mask_after))
    found = find_rules(expected, expected.values())
    assert [dict(each.pairs) for each in found] == [expected]


def test_images_without_masks_and_masks_without_images_stay_alone() -> None:
    images = [f"x{number}" for number in range(10)]
    masks = [f"x{number}_m" for number in (*range(7), 20, 21)]
    assert pairs(images, masks) == {f"x{number}": f"x{number}_m" for number in range(7)}


@pytest.mark.parametrize("other", ["_label", "_color"])
def test_two_families_of_masks_are_two_rules(other: str) -> None:
    masks = [f"{name}{ending}" for name in NAMES for ending in ("_mask", other)]
    found = find_rules(NAMES, masks)
    assert {each.rule.mask[1] for each in found} == {"_mask", other}


def test_a_second_family_for_half_of_the_images_is_a_rival_and_for_one_is_not() -> None:
    masks = [f"{name}_mask" for name in NAMES]
    assert len(find_rules(NAMES, [*masks, *(f"{name}_b" for name in NAMES[:3])])) == 2
    assert pairs(NAMES, [*masks, "cat_b"]) == dict(zip(NAMES, masks, strict=True))


def test_the_same_name_wins_over_a_rule_that_fits_as_many() -> None:
    (found,) = find_rules(["a", "b"], ["a", "b_mask"])
    assert (found.rule, dict(found.pairs)) == (SAME_NAME, {"a": "a"})


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (
            [f"{number:03d}" for number in range(100)],
            [f"{number:03d}" for number in range(100, 200)],
        ),
        (["1"], ["11"]),
        (["photo1"], ["photo2"]),
        (["a/x"], ["b/x_mask"]),
        (["cat", "dog"], ["horse", "sheep"]),
        ([], []),
        (["a"], []),
    ],
)
def test_what_shares_no_whole_name_is_not_paired(images: list[str], masks: list[str]) -> None:
    assert find_rules(images, masks) == []


def test_many_names_are_paired_quickly_by_a_rule_few_of_them_show() -> None:
    images = [f"scene_{number}_rgb" for number in range(4000)]
    masks = [f"scene_{number}_seg" for number in range(0, 4000, 3)]
    assert len(pairs(images, masks)) == len(masks)


def test_a_rule_is_told_with_the_mark_before_its_word() -> None:
    (found,) = find_rules(["img_1_rgb", "img_2_rgb"], ["lbl_1_seg", "lbl_2_seg"])
    assert found.rule == NameRule(("img_", "_rgb"), ("lbl_", "_seg"))
    assert dict(found.pairs) == {"img_1_rgb": "lbl_1_seg", "img_2_rgb": "lbl_2_seg"}
