"""Requests meant to harm: refused in one sentence and little memory; the next is answered."""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from segmenter.extras.serving import server
from tests.helpers.services import PNG, Start, code_of, encode, make_image, serving, serving_process
from tests.helpers.skips import NOT_HERE
from tests.helpers.waiting import wait_until

LIMIT = 32 << 20  # of the service as it is started by the command
SEGMENT = b"POST /segment HTTP/1.1\r\nhost: localhost\r\n"
INFER = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: localhost\r\n"
IMAGE = encode(make_image())


@pytest.fixture(scope="module")
def served() -> Iterator[SimpleNamespace]:
    with serving(is_local=True) as running:
        yield running


def exchange(port: int, request: bytes) -> tuple[int, dict[str, object]]:
    """Send bytes as they are; the status and the JSON of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    is_problem = b"problem+json" in head
    content = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1]) if is_problem else {}
    return int(head.split()[1]), content


def sized(head: bytes, body: bytes) -> bytes:
    return head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def form(headers: bytes, content: bytes = IMAGE, kind: bytes = b"boundary=x") -> bytes:
    head = SEGMENT + b"content-type: multipart/form-data; " + kind + b"\r\n"
    return sized(head, b"--x\r\n" + headers + b"\r\n\r\n" + content + b"\r\n--x--\r\n")


def tensor(data: bytes) -> bytes:
    start = b'{"inputs": [{"name": "image", "shape": [1,1,1,3], "datatype": "UINT8", "data": '
    return sized(INFER, start + data + b"}]}")


BY_FILE = b'Content-Disposition: form-data; name="image"; filename="x.png"'
BY_FIELD = b'Content-Disposition: form-data; name="image"'
URL = b"http://169.254.169.254/latest/meta-data"
REFUSED = {
    "a length below zero": (SEGMENT + b"content-length: -1\r\n\r\nabc", 400, "bad-http"),
    "a length in words": (SEGMENT + b"content-length: abc\r\n\r\nabc", 400, "bad-http"),
    "two lengths": (
        SEGMENT + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        400,
        "bad-http",
    ),
    "a length, and chunks": (
        SEGMENT
        + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        + b"GET /v2 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        400,
        "bad-http",
    ),
    "a chunk without a length": (
        SEGMENT + b"transfer-encoding: chunked\r\n\r\nZZZ\r\n",
        400,
        "bad-http",
    ),
    "no HTTP": (b"\x16\x03\x01\x02\x00" * 100, 400, "bad-http"),
    "a head of JSON of 5000 digits": (
        sized(INFER + b"inference-header-content-length: " + b"1" * 5000 + b"\r\n", b"{}"),
        400,
        "bad-header-length",
    ),
    "a host that is none": (
        b"GET /v2 HTTP/1.1\r\nhost: [\r\nconnection: close\r\n\r\n",
        421,
        "wrong-host",
    ),
    "a host with a user": (
        b"GET /v2 HTTP/1.1\r\nhost: localhost@evil\r\nconnection: close\r\n\r\n",
        421,
        "wrong-host",
    ),
    "a URL as an image": (sized(SEGMENT, URL), 422, "bad-image"),
    "a path as an image": (sized(SEGMENT, b"/etc/passwd"), 422, "bad-image"),
    "a URL as a field": (form(BY_FIELD, URL), 422, "not-one-image"),
    "a path as a field": (form(BY_FIELD, b"file:///etc/passwd"), 422, "not-one-image"),
    "a URL in JSON": (
        sized(SEGMENT + b"content-type: application/json\r\n", b'{"url": "' + URL + b'"}'),
        415,
        "unsupported-media-type",
    ),
    "paths as a tensor": (tensor(b'["/etc/passwd", "2", "3"]'), 422, "bad-data"),
    "a path up": (
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        404,
        "not-found",
    ),
    "JSON cut short": (sized(INFER, b'{"inputs": ['), 400, "bad-json"),
    "JSON that is a list": (sized(INFER, b"[]"), 422, "bad-request"),
    "a number of 5000 digits": (tensor(b"[1" + b"0" * 5000 + b",1,2]"), 422, "bad-data"),
    "numbers that are none": (tensor(b"[NaN,1,2]"), 422, "bad-data"),
    "numbers in tatters": (tensor(b"[[1,2],[3]]"), 422, "bad-data"),
    "objects as numbers": (tensor(b"[{},1,2]"), 422, "bad-data"),
    "half a character as an id": (sized(INFER, b'{"id": "\\ud800", "inputs": []}'), 422, None),
    "a form with another boundary": (form(BY_FILE, kind=b"boundary=y"), 400, "bad-form"),
    "a form whose boundary is not a text": (form(BY_FILE, kind=b"boundary=\xff"), 400, "bad-form"),
    "a part without a name": (form(b"X: y"), 400, "bad-form"),
    "a place that is none": (
        sized(SEGMENT.replace(b"segment", b"attention?row=nan&column=inf"), IMAGE),
        422,
        "bad-request",
    ),
    "a layer of 5000 digits": (
        sized(SEGMENT.replace(b"segment", b"attention?class=1&layer=" + b"1" * 5000), IMAGE),
        422,
        "bad-request",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_request_is_refused_and_the_next_one_answered(
    served: SimpleNamespace, case: str
) -> None:
    request, status, code = REFUSED[case]
    given, problem = exchange(served.port, request)
    assert (given, problem["status"]) == (status, status)
    assert code in {problem["code"], None}
    assert "\n" not in problem["detail"]
    assert exchange(served.port, sized(SEGMENT, IMAGE))[0] == 200


@pytest.mark.parametrize(
    "name",
    [b"<script>alert(1)</script>.png", b"a\nb.png", b"../../a.png", b"/etc/a", b"\xff\0.png"],
)
def test_the_name_of_an_uploaded_file_is_of_no_use(served: SimpleNamespace, name: bytes) -> None:
    headers = b'Content-Disposition: form-data; name="image"; filename="' + name + b'"'
    assert exchange(served.port, form(headers))[0] == 200
    answer = exchange(served.port, form(headers, b"no image"))
    assert answer[0] == 422
    assert "script" not in str(answer)


def test_what_a_request_says_is_shown_as_text_alone(served: SimpleNamespace) -> None:
    answers = [
        served.client.get("/<script>alert(1)</script>"),
        served.client.post("/v2/models/tiny/infer", json={"inputs": [{"name": "<script>\n"}]}),
    ]
    for answer in answers:
        code_of(answer)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with serving_process(tmp_path_factory.mktemp("service")) as running:
        assert running.client.post("/segment", content=IMAGE, headers=PNG).is_success
        yield running


def memory(process: SimpleNamespace) -> int:
    """What a process has in memory, in bytes."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def assert_healthy(process: SimpleNamespace) -> None:
    assert process.client.get("/v2/health/live").is_success


def chunks(size: int) -> Iterator[bytes]:
    for start in range(0, size, 1 << 20):
        yield b"x" * min(1 << 20, size - start)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason=f"{NOT_HERE}: /proc")
def test_a_byte_too_many_is_refused_in_less_than_50_mb_however_it_is_sent(
    process: SimpleNamespace,
) -> None:
    before = memory(process)
    post = process.client.post
    too_large = (413, "body-too-large")
    stated = {"content-length": str(LIMIT + 1)}
    assert code_of(post("/segment", content=chunks(LIMIT + 1), headers=PNG | stated)) == too_large
    assert code_of(post("/segment", content=chunks(LIMIT + 1), headers=PNG)) == too_large
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert code_of(post("/segment", content=chunks(LIMIT + 1), headers=kind)) == too_large
    parts = [("image", ("x.png", b"x"))] * 1001
    assert code_of(post("/segment", files=parts)) == (400, "bad-form")
    assert memory(process) - before < 50e6
    assert_healthy(process)


@pytest.mark.slow
def test_a_body_at_the_limit_is_read_and_given_back_to_the_system(process: SimpleNamespace) -> None:
    for number in range(4):
        if number == 1:  # the first body starts a decoding process, which stays
            before = memory(process)
        answer = process.client.post("/segment", content=chunks(LIMIT), headers=PNG)
        assert code_of(answer) == (422, "bad-image")
    # Memory is given back once nothing is worked on.
    wait_until(lambda: memory(process) - before < 50e6)
    assert_healthy(process)


@pytest.mark.slow
@pytest.mark.parametrize("begins_well", [False, True])
def test_clients_that_send_a_head_byte_by_byte_are_closed_and_hold_up_nobody(
    start: Start, monkeypatch: pytest.MonkeyPatch, begins_well: bool
) -> None:
    monkeypatch.setattr(server, "_HEAD_TIMEOUT", 3.0)
    served = start()
    with contextlib.ExitStack() as stack:
        open_ones = []
        for _ in range(100):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            if begins_well:
                each.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
                assert b" 200 " in each.recv(10_000)
            each.sendall(b"GET / HTTP/1.1\r\n")
            open_ones.append(each)
        began = time.monotonic()
        while open_ones:
            assert time.monotonic() - began < 60
            open_ones = [each for each in open_ones if is_open(each)]
            assert served.client.get("/v2/health/live").is_success


def is_open(connection: socket.socket) -> bool:
    """Whether one more byte is taken and the other side has not closed."""
    connection.settimeout(0.001)
    try:
        connection.sendall(b"x")
        return connection.recv(10_000) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_client_that_does_not_take_its_answer_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_TAKE_TIMEOUT", 0.3)
    pause, is_waiting = server._PatientProtocol.pause_writing, threading.Event()

    def note_pause(connection: server._PatientProtocol) -> None:
        pause(connection)
        is_waiting.set()

    monkeypatch.setattr(server._PatientProtocol, "pause_writing", note_pause)
    served = start()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(b"GET /main.js HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)
        wait_until(lambda: is_waiting.is_set() and not served.connections)
        connection.settimeout(60)
        num_bytes = 0
        with contextlib.suppress(ConnectionResetError):  # of requests that nobody has read yet
            while part := connection.recv(1 << 16):
                num_bytes += len(part)
    assert num_bytes < 1000 * len(served.client.get("/main.js").content)


@pytest.mark.slow
def test_the_log_holds_no_bytes_of_images_and_one_line_a_refusal(process: SimpleNamespace) -> None:
    secret = b"\x89PNG-secret-pixels"
    for request in (
        sized(SEGMENT, secret * 100),
        form(BY_FILE, secret),
        form(b'Content-Disposition: form-data; name="a"; filename="<script>\nforged line"', secret),
        SEGMENT + b"content-length: -1\r\n\r\n" + secret,
        sized(INFER, b'{"inputs": "' + secret[1:] + b'"}'),
    ):
        assert exchange(process.port, request)[0] in {400, 422}
    with contextlib.suppress(httpx.HTTPError):
        process.client.get("/secret-pixels")
    text = process.log.read_bytes()
    assert not re.search(rb"secret|pixels|forged|<script>|Traceback", text)
