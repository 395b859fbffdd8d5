"""What type checkers know of the keywords of functions is made of the options of the commands.

`python -m tests.api.test_keywords` writes the stub anew; `make format` then breaks its lines.
"""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from segmenter.api import keywords
from segmenter.recipe import Recipe
from tests.helpers.paths import REPOSITORY

STUB = REPOSITORY / "src/segmenter/api/keywords.pyi"
HEAD = '''"""Keywords of functions, for type checkers; written by `tests/api/test_keywords.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

Section = Mapping[str, Any]
RECIPE_FIELDS: tuple[str, ...]
'''


def stub() -> str:
    """The text of the stub, in long lines."""
    lines = [HEAD]
    names = ("CHECK", "CONVERT", "EVALUATE", "EXPORT", "FIT", "TRAIN")
    lines += [f"{name}: tuple[type, ...]" for name in names]
    for name in names:
        function = name.lower()
        lines += ["", f"class {function.title()}Keywords(TypedDict, total=False):"]
        lines += [f'    """Keywords of `segmenter.{function}`."""', ""]
        known = {each: type_ for kind in getattr(keywords, name) for each, type_ in types_of(kind)}
        if name == "TRAIN":
            sections = {each: Recipe.model_fields[each] for each in keywords.RECIPE_FIELDS}
            known |= {each: spelled(field.annotation) for each, field in sections.items()}
            del known["data"]
        lines += [f"    {each}: {type_}" for each, type_ in known.items()]
    return "\n".join(lines) + "\n"


def types_of(kind: type) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        yield field.name, spelled(hints[field.name])


def spelled(hint: Any) -> str:
    """A type as one writes it: a path may be a text, and a tuple or list any sequence."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return spelled(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]".replace("'", '"')
    if origin in (Union, UnionType):
        return " | ".join(map(spelled, inner))
    if origin in (tuple, list):
        return f"Sequence[{spelled(inner[0])}]"
    if hint is NoneType:
        return "None"
    if hint is Path:
        return "str | Path"
    return "Section" if issubclass(hint, BaseModel) else hint.__name__


def test_the_stub_for_type_checkers_is_made_of_the_options() -> None:
    written = ast.dump(ast.parse(STUB.read_text()))
    assert written == ast.dump(ast.parse(stub())), "python -m tests.api.test_keywords writes it"


if __name__ == "__main__":
    STUB.write_text(stub())
