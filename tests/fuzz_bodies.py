"""Mutated tensors in JSON against the reader of the service, for as long as is asked.

    python -m tests.fuzz_bodies --seconds 600

What is read must be what `json` and NumPy read, and nothing but a refusal may be raised. Where
anything else happens, the body is kept in `build/fuzz`, and the exit status is 1.
"""

import json
import sys
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmenter.extras.serving import json_numbers, v2
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings
from tests.helpers.fuzzing import KEPT, asked, fuzz_settings, try_until

ROUND = 500  # inputs between two looks at the clock
MAX_SECONDS = 1.0  # for one input
BOUNDS = ServiceSettings()
_PIECES = [
    b",",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b'""',
    b'"\\',
    b"null",
    b"-1",
    b"0",
    b"00",
    b"256",
    b"1e9",
    b"1.0",
    b"NaN",
    b"\xff",
    b"\xef\xbb\xbf",
    b" ",
    b"\n",
    b'"data":',
    b'"inputs":[',
    b"1" * 400,
    b"[" * 40,
    b"," * 3,
]

_shape = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.just(3))
_mutation = st.tuples(
    st.sampled_from(["insert", "remove", "change", "repeat"]),
    st.floats(0, 0.999),
    st.one_of(st.sampled_from(_PIECES), st.binary(min_size=1, max_size=3)),
)


def make_body(shape: tuple[int, ...], is_nested: bool, indent: int | None, number: int) -> bytes:
    """A body as a client writes it."""
    values = np.random.default_rng(number).integers(0, 256, shape)
    tensor = {
        "name": "image",
        "shape": list(shape),
        "data": (values if is_nested else values.ravel()).tolist(),
        "datatype": "UINT8",
    }
    return json.dumps({"id": "7", "inputs": [tensor]}, indent=indent).encode()


def mutated(body: bytes, mutations: list[tuple[str, float, bytes]]) -> bytes:
    """A body after changes, each at a place from 0 (its start) to 1."""
    for kind, place, piece in mutations:
        at = int(place * len(body))
        if kind == "repeat":
            piece, kind = body[at : at + 4 * len(piece)], "insert"
        after = at if kind == "insert" else at + len(piece)
        body = body[:at] + (b"" if kind == "remove" else piece) + body[after:]
    return body


def check(body: bytes) -> bool:
    """Read a body; whether it was taken.

    Raises:
        AssertionError: If what was read is not what `json` reads, or it took too long.
    """
    start = time.process_time()
    try:
        _, images = v2.read_request(body, None, 3, BOUNDS)
    except RequestError as error:
        if error.status not in {400, 422}:
            raise
        return False
    finally:
        assert time.process_time() - start < MAX_SECONDS
    (tensor,) = json.loads(body)["inputs"]
    values = np.array(tensor["data"])
    assert values.ndim == 1 or list(values.shape) == tensor["shape"]
    np.testing.assert_array_equal(images, values.reshape(tensor["shape"]))
    return True


def main(arguments: list[str] | None = None) -> int:
    """Read until the time is over; 1 where something was found."""
    seconds, number = asked(__doc__, 20, arguments)
    counts = {True: 0, False: 0}
    findings = 0

    @fuzz_settings(ROUND)
    @given(
        shape=_shape,
        is_nested=st.booleans(),
        indent=st.sampled_from([None, 1]),
        number=st.integers(0, 99),
        mutations=st.lists(_mutation, max_size=4),
        chunk=st.integers(4, 200),
    )
    def read(
        shape: tuple[int, ...],
        is_nested: bool,
        indent: int | None,
        number: int,
        mutations: list[tuple[str, float, bytes]],
        chunk: int,
    ) -> None:
        nonlocal findings
        body = mutated(make_body(shape, is_nested, indent, number), mutations)
        json_numbers._CHUNK = chunk
        try:
            counts[check(body)] += 1
        except Exception as error:
            findings += 1
            KEPT.mkdir(parents=True, exist_ok=True)
            kept = KEPT / f"{time.time_ns()}-body"
            kept.write_bytes(body)
            print(f"found: {kept}: {type(error).__name__}: {error}"[:500], file=sys.stderr)

    default = json_numbers._CHUNK
    try_until(time.time() + seconds, number, read)
    json_numbers._CHUNK = default
    print(f"{counts[True]} bodies read, {counts[False]} refused, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
