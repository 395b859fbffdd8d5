"""Changes to the bytes of a file, or to a value of its JSON, drawn at random."""

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Mutation = tuple[str, float, bytes | int]
"""What is done, at a place from 0 (the start) to 1, with what or to how many bytes."""
_NUMBERS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0"]


def mutations(seeds: Sequence[bytes], places: st.SearchStrategy[float]) -> st.SearchStrategy:
    """Lists of mutations at `places`; what is spliced in comes from `seeds`."""
    one = st.one_of(
        st.tuples(st.just("change"), places, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("change"), places, st.sampled_from(_NUMBERS)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=16)),
        st.tuples(st.just("remove"), places, st.integers(1, 64)),
        st.tuples(st.just("repeat"), places, st.integers(1, 256)),
        st.tuples(st.just("splice"), places, st.sampled_from(seeds)),
    )
    return st.lists(one, min_size=1, max_size=6)


def mutated(data: bytes, changes: list[Mutation]) -> bytes:
    """A file after changes."""
    for kind, place, what in changes:
        at = int(place * len(data))
        if isinstance(what, int):
            put, after = (data[at : at + what] * 2 if kind == "repeat" else b""), at + what
        elif kind == "splice":
            put, after = what[int(place * len(what)) :], len(data)
        else:
            put, after = what, at + (len(what) if kind == "change" else 0)
        data = data[:at] + put + data[after:]
    return data


def change_leaf(content: Any, place: float, value: Any) -> Any:
    """JSON in which one value, at a place from 0 to 1, is another, or is gone."""
    content = copy.deepcopy(content)
    waiting: list[Any] = [content]
    places: list[tuple[Any, Any]] = []
    while waiting:
        inner = waiting.pop()
        keys = inner if isinstance(inner, dict) else range(len(inner))
        places += [(inner, key) for key in keys]
        waiting += [inner[key] for key in keys if isinstance(inner[key], dict | list)]
    inner, key = places[int(place * len(places))]
    if value == "gone":
        del inner[key]
    else:
        inner[key] = value
    return content
