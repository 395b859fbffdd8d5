"""Numbers of a recipe: taken as they are written; text, truth or a fraction is refused."""

from typing import Annotated

from pydantic import AllowInfNan, BeforeValidator, Strict


def _refuse_all_but_whole(value: object) -> object:
    if type(value) is not int:
        raise ValueError(f"must be a whole number, in plain digits, got {value!r}")
    return value


Whole = Annotated[int, Strict()]
"""A whole number: 2, but neither 2.0, "2" nor true."""
Real = Annotated[float, Strict(), AllowInfNan(False)]
"""A finite number, whole or not; neither text nor true."""
OnlyWhole = BeforeValidator(_refuse_all_but_whole)
"""For choices among numbers, where pydantic takes true and 1.0 for 1."""
