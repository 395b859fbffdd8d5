"""Pages of other sites, which a browser lets post to loopback, and tokens of any bytes."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.helpers.services import PNG, Start, code_of, encode, make_image, serving

IMAGE = encode(make_image())
INFER = "/v2/models/tiny/infer"
TENSOR = (
    b'{"inputs": [{"name": "image", "shape": [1,1,1,3], "datatype": "UINT8", "data": [1,2,3]}]}'
)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served() -> Iterator[SimpleNamespace]:
    with serving(is_local=True) as running:
        yield running


FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    {"sec-fetch-site": "anything"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:1"},
    {"origin": "http://localhost"},
    {"origin": "http://[::1"},
    {"origin": "file://"},
    {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
]
POSTS = ["/segment", "/confidence", "/attention?layer=0&row=0&column=0", INFER]
GETS = ["/model.json", "/metrics", "/openapi.json", "/v2", "/v2/health/live", "/nothing"]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_is_refused_on_every_route(
    served: SimpleNamespace, headers: dict[str, str]
) -> None:
    for path in POSTS:
        kind, body = (JSON, TENSOR) if path == INFER else (PNG, IMAGE)
        answer = served.client.post(path, content=body, headers=kind | headers)
        assert code_of(answer) == (403, "cross-site")
    for path in GETS:
        assert code_of(served.client.get(path, headers=headers)) == (403, "cross-site")


def test_its_own_page_and_other_clients_are_answered(served: SimpleNamespace) -> None:
    own = f"http://127.0.0.1:{served.port}"
    for headers in (
        {},
        {"origin": own, "sec-fetch-site": "same-origin"},
        {"origin": own.replace("http:", "https:")},
        {"sec-fetch-site": "none"},
    ):
        answer = served.client.post("/segment", content=IMAGE, headers=PNG | headers)
        assert answer.status_code == 200
    answer = served.client.post(INFER, content=TENSOR, headers=JSON | {"origin": own})
    assert answer.status_code == 200


def test_a_link_to_the_page_may_be_followed_but_no_frame_holds_it(served: SimpleNamespace) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    followed = served.client.get("/", headers=link | {"sec-fetch-dest": "document"})
    assert followed.status_code == 200
    framed = served.client.get("/", headers=link | {"sec-fetch-dest": "iframe"})
    assert code_of(framed) == (403, "cross-site")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "", "image"],
)
def test_a_content_type_that_a_route_does_not_take_is_refused(
    served: SimpleNamespace, kind: str
) -> None:
    for path in POSTS:
        body = TENSOR if path == INFER else IMAGE
        answer = served.client.post(path, content=body, headers={"content-type": kind})
        assert code_of(answer) == (415, "unsupported-media-type")


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "image/png"])
def test_tensors_come_in_no_form_and_no_image(served: SimpleNamespace, kind: str) -> None:
    answer = served.client.post(INFER, content=TENSOR, headers={"content-type": kind})
    assert code_of(answer) == (415, "unsupported-media-type")


def test_a_path_with_a_slash_more_redirects_nobody(served: SimpleNamespace) -> None:
    for path in [*POSTS, "/model.json", "/v2/health/live"]:
        path = path.partition("?")[0] + "/"
        assert code_of(served.client.get(path)) == (404, "not-found")
        evil = served.client.get(path, headers={"host": "evil.example"})
        assert code_of(evil) == (421, "wrong-host")
        assert "location" not in evil.headers


@pytest.mark.parametrize(
    "token", ["pässwörd", "密码", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_a_token_that_is_not_ascii_is_compared_byte_by_byte(start: Start, token: str) -> None:
    client = start(token=token).client
    sent = token.encode("utf-8", "surrogateescape")
    right = client.get("/metrics", headers={b"authorization": b"Bearer " + sent})
    assert right.status_code == 200
    for wrong in (sent[:-1], sent + b"x", b"\xe9", b"x"):
        answer = client.get("/metrics", headers={b"authorization": b"Bearer " + wrong})
        assert code_of(answer) == (401, "unauthorized")


def test_a_compressed_body_is_refused_by_name(served: SimpleNamespace) -> None:
    for path in POSTS:
        headers = PNG if path != INFER else JSON
        headers = headers | {"content-encoding": "gzip"}
        answer = served.client.post(path, content=IMAGE, headers=headers)
        assert code_of(answer) == (415, "unsupported-encoding")


def test_a_host_that_makes_no_url_is_no_fault_of_the_service(start: Start) -> None:
    client = start().client
    for path in ("/", "/nothing"):
        answer = client.get(path, headers={"host": "[::1", "sec-fetch-site": "cross-site"})
        assert code_of(answer) == (403, "cross-site")
