"""A call that a function does not take is answered in one line, which says what it takes."""

from inspect import signature
from typing import Any

import numpy as np
import pytest

from segmenter.calls import check_call, check_types
from segmenter.errors import UserError


def labelled(model: str, data: str, *, split: str = "test") -> tuple[str, str, str]:
    return model, data, split


def anything(model: str, **options: object) -> tuple[str, object]:
    return model, options


@pytest.mark.parametrize(
    ("args", "keywords", "problem"),
    [
        (("a", "b", "c"), {}, r"f takes 2 without a keyword \(model, data\), got 3"),
        (("a",), {}, "f: data is missing; it takes model, data"),
        (("a",), {"data": "b", "splt": "c"}, "f has no option 'splt', did you mean 'split'"),
        (("a", "b"), {"data": "c"}, "f: data is given twice"),
    ],
)
def test_a_call_that_does_not_fit_says_what_the_function_takes(
    args: tuple[str, ...], keywords: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem) as refused:
        check_call("f", signature(labelled), args, keywords)
    assert "\n" not in str(refused.value)


def test_a_call_that_fits_is_let_through() -> None:
    check_call("f", signature(labelled), ("a",), {"data": "b", "split": "c"})
    check_call("f", signature(anything), ("a",), {"whatever": 1})


def test_numbers_of_numpy_stand_for_those_of_python() -> None:
    types = {"side": int, "flip": bool, "scales": list[float]}
    given = {"side": np.int64(5), "flip": np.bool_(True), "scales": np.array([0.5, 1])}
    assert check_types("f", types, given) == {"side": 5, "flip": True, "scales": [0.5, 1.0]}
    with pytest.raises(UserError, match=r"^f: side: must be a whole number.*got True"):
        check_types("f", types, {"side": True})
