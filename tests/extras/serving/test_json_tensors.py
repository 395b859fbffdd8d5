"""Tensors in JSON: read as `json` and NumPy read them, or refused, in little memory and time."""

import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter.extras.serving import json_numbers, v2
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings

SETTINGS = ServiceSettings()
MIB = 1 << 20


def body(data: str, shape: tuple[int, ...] = (1, 2, 2, 3), rest: str = "") -> bytes:
    return (
        f'{{"inputs": [{{"name": "image", "datatype": "UINT8", "data": {data}, '
        f'"shape": {list(shape)}{rest}}}]}}'
    ).encode()


def read(request: bytes, channels: int = 3) -> np.ndarray:
    return v2.read_request(request, None, channels, SETTINGS)[1]


def refusal(request: bytes) -> tuple[int, str, str]:
    with pytest.raises(RequestError) as raised:
        read(request)
    return raised.value.status, raised.value.code, raised.value.detail


@pytest.mark.parametrize("separators", [(",", ":"), (" , ", ": "), (",\n", ":")])
@pytest.mark.parametrize("is_nested", [False, True])
@settings(max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3, st.just(3)), seed=st.integers(0, 99), chunk=st.data()
)
def test_numbers_are_read_as_json_reads_them(
    separators: tuple[str, str], is_nested: bool, shape: tuple[int, ...], seed: int, chunk
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    given_values = values if is_nested else values.ravel()
    text = json.dumps(given_values.tolist(), separators=separators).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_numbers, "_CHUNK", chunk.draw(st.integers(4, 60)))
        end = json_numbers.find_end(text, 0)
        found = json_numbers.read_numbers(text, slice(0, end), shape)
    np.testing.assert_array_equal(found, values)


REFUSED = {
    "strings": ('["1","2","3"]', "a string"),
    "a string within": ('[1,2,"3"]', "a string"),
    "true": ("[true,1,2]", "true"),
    "null": ("[null,1,2]", "null"),
    "null alone": ("null", "once"),
    "a number alone": ("0", "once"),
    "a string alone": ('"12"', "once"),
    "objects": ("[{},{}]", "an object"),
    "NaN": ("[NaN]", "NaN"),
    "infinity": ("[Infinity]", "Infinity"),
    "below zero": ("[-1,2,3]", "below 0"),
    "a fraction": ("[1.0,2,3]", "a fraction"),
    "an exponent": ("[1e2]", "an exponent"),
    "above 255": (str([256] * 12), "above 255"),
    "four digits": (str([1000] * 12), "above 255"),
    "a million digits": (f"[{'1' * MIB}]", "too many digits"),
    "leading zeros": ("[01,2,3,4,5,6,7,8,9,10,11,12]", "begins with 0"),
    "too few": ("[1,2,3]", "takes 12, got 3"),
    "too many": (str([1] * 13), "takes 12, got more"),
    "none": ("[]", "missing"),
    "a comma too many": ("[1,2,3,4,5,6,7,8,9,10,11,12,]", "missing"),
    "a comma missing": ("[1 2,3,4,5,6,7,8,9,10,11,12]", "missing"),
    "two commas": ("[1,,2,3,4,5,6,7,8,9,10,11]", "missing"),
    "a ragged nest": ("[[[[1,2,3],[4,5,6]],[[7,8,9,10],[11,12]]]]", "ragged"),
    "a list that ends early": ("[1,2,3,4,5,6,7,8,9,10,11],[12]", "ragged"),
    "channels first": (str(np.arange(12).reshape(1, 3, 2, 2).tolist()), "ragged"),
    "rows of values": (str(np.arange(12).reshape(2, 6).tolist()), "2 lists deep"),
    "no batch": (str(np.arange(12).reshape(2, 2, 3).tolist()), "3 lists deep"),
    "deep": ("[" * 1000 + "1" + "]" * 1000, "1000 lists deep"),
    "a vertical tab": ("[1,\x0b2]", "0x0b"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_but_a_list_of_bytes_is_refused_with_the_reason(case: str) -> None:
    data, reason = REFUSED[case]
    status, code, detail = refusal(body(data))
    assert (status, code) == (422, "bad-data")
    assert reason in detail
    assert len(detail) < 300


NO_JSON = {
    "cut inside data": b'{"inputs": [{"data": [1,2',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "an open string": b'{"id": "x',
    "a key twice": body("[1]", rest=', "data": [2]'),
    "inputs twice": b'{"inputs": [{"data": [1]}], "inputs": [{"name": "image"}]}',
    "a number before the list": body("-1[1]"),
    "a minus sign before the list": body("-[1]"),
    "a fraction behind the list": body("[1].5"),
    "other text behind": body("[1]") + b"x",
    "UTF-16": body("[1]").decode().encode("utf-16"),
}


@pytest.mark.parametrize("case", NO_JSON)
def test_what_is_no_json_is_refused(case: str) -> None:
    assert refusal(NO_JSON[case])[:2] == (400, "bad-json")


LARGE = {
    "strings": lambda: body('["' + "x" * 200_000 + '"' + ',""' * 2500 + "]"),
    "objects": lambda: body("[" + "{},{}," * (32 * MIB // 6) + "{}]"),
    "objects elsewhere": lambda: body(
        "[1]", rest=', "parameters": {"a": [' + "{}," * (10 * MIB) + "{}]}"
    ),
    "an id": lambda: b'{"id": "' + b"x" * (32 * MIB) + b'"}',
    "keys": lambda: b"{" + b'"a":1,' * (5 * MIB) + b'"b":1}',
    "lists": lambda: body("[" + "[]," * (10 * MIB) + "[]]"),
    "brackets": lambda: body("[" * (32 * MIB)),
    "spaces": lambda: body("[1," + " " * (32 * MIB) + "2]"),
    "numbers that are too many": lambda: body("[" + "0," * (16 * MIB) + "0]"),
    "numbers": lambda: body("[" + "0," * (9 * MIB - 1) + "0]", (1, 1024, 3072, 3)),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_large_body_takes_at_most_twice_its_size_again_and_a_second(case: str) -> None:
    request = LARGE[case]()
    tracemalloc.start()
    start = time.process_time()
    try:
        found = read(request)
    except RequestError as error:
        assert error.status in {400, 422}  # noqa: PT017
    else:
        assert case == "numbers"
        assert not found.any()
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(request) + 8 * MIB  # beside the body and the buffer it came in
    assert seconds < 5  # the old parser: 16 s for 210 KB


@pytest.mark.parametrize("stated", [11, "12", 12.0, None])
def test_a_stated_size_of_bytes_must_be_theirs(stated: object) -> None:
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, 2, 2, 3],
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": stated},
                }
            ]
        }
    ).encode()
    with pytest.raises(RequestError, match="12 bytes make this shape"):
        v2.read_request(head + bytes(12), str(len(head)), 3, SETTINGS)


def test_numbers_and_bytes_together_are_refused() -> None:
    head = body("[1,2,3,4,5,6,7,8,9,10,11,12]")
    with pytest.raises(RequestError, match="once"):
        v2.read_request(head + bytes(12), str(len(head)), 3, SETTINGS)


def test_something_in_data_and_bytes_together_are_refused() -> None:
    head = body('"x"')
    with pytest.raises(RequestError, match="once"):
        v2.read_request(head + bytes(12), str(len(head)), 3, SETTINGS)


@pytest.mark.parametrize("shape", ['["1",2,2,3]', "[1,2.0,2,3]", "[true,2,2,3]", "[1,2,2,3e0]"])
def test_a_length_is_a_whole_number_and_nothing_else(shape: str) -> None:
    request = body("[1,2,3,4,5,6,7,8,9,10,11,12]").replace(b"[1, 2, 2, 3]", shape.encode())
    assert shape.encode() in request
    with pytest.raises(RequestError, match="shape"):
        read(request)


@pytest.mark.parametrize(
    "outputs",
    [
        '[{"name": "logits"}]',
        '[{"name": "labels"}, {"name": "labels"}]',
        '"labels"',
        '[{"name": "labels", "parameters": {"classification": 3}}]',
    ],
)
def test_an_output_that_there_is_not_is_refused(outputs: str) -> None:
    request = body("[1,2,3,4,5,6,7,8,9,10,11,12]")
    with pytest.raises(RequestError, match="outputs"):
        read(request[:-1] + f', "outputs": {outputs}}}'.encode())
    read(request[:-1] + b', "outputs": [{"name": "labels"}]}')


def test_labels_are_written_as_json_writes_them() -> None:
    labels = np.random.default_rng(0).integers(0, 300, (2, 300, 301), dtype=np.uint16)
    content, _ = v2.answer("m", "7", labels, binary=False)
    assert json.loads(content) == {
        "model_name": "m",
        "id": "7",
        "outputs": [
            {
                "name": "labels",
                "shape": [2, 300, 301],
                "datatype": "UINT16",
                "data": labels.ravel().tolist(),
            }
        ],
    }
