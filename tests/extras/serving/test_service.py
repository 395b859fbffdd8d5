"""The service: answers equal the predictor's, refusals have a code, nothing is unbounded."""

import asyncio
import json
import multiprocessing
import socket
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

from segmenter.extras.serving import decoding, departures, server
from segmenter.extras.serving.decode_process import Reading
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.inference import work
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.models import make_spec, one_class_model
from tests.helpers.services import (
    PATIENT,
    PNG,
    Start,
    code_of,
    encode,
    labels_of,
    make_image,
    serving,
    set_deadline,
)
from tests.helpers.skips import NOT_HERE
from tests.helpers.small_memory import small_memory
from tests.helpers.waiting import wait_until


@pytest.fixture(scope="module")
def served() -> Iterator[SimpleNamespace]:
    """One service for all tests that only send requests which leave no trace."""
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def limited() -> Iterator[SimpleNamespace]:
    """One service that takes small images only."""
    with serving(max_body_bytes=100_000, max_pixels=10_000) as running:
        yield running


def test_the_label_png_is_what_the_predictor_says(served: SimpleNamespace) -> None:
    image = make_image()
    response = served.client.post("/segment", content=encode(image), headers=PNG)
    assert response.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(labels_of(response), served.predictor(image))
    shown = np.array(Image.open(BytesIO(response.content)).convert("RGB"))
    np.testing.assert_array_equal(shown, served.predictor.classes.colors[labels_of(response)])


def test_an_image_that_no_memory_holds_is_refused_and_no_fault(
    served: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "total_memory", lambda: 1000)
    response = served.client.post("/segment", content=encode(make_image()), headers=PNG)
    assert code_of(response) == (422, "too-large")
    assert "of memory" in response.json()["detail"]


def test_a_form_is_taken_too(served: SimpleNamespace) -> None:
    image = make_image()
    response = served.client.post("/segment", files={"image": ("x.png", encode(image))})
    np.testing.assert_array_equal(labels_of(response), served.predictor(image))


def test_json_holds_shares_and_masks_that_read_back(served: SimpleNamespace) -> None:
    image = make_image(seed=2)
    headers = PNG | {"accept": "text/html;q=0.9, application/json"}
    content = served.client.post("/segment", content=encode(image), headers=headers).json()
    labels = served.predictor(image)
    assert (content["height"], content["width"]) == labels.shape
    for each in content["classes"]:
        assert each["share"] == pytest.approx((labels == each["index"]).mean())
        assert each["rle"]["size"] == list(labels.shape)
        assert each["polygons"]
    assert sum(each["share"] for each in content["classes"]) == pytest.approx(1)


def test_an_overlay_is_at_least_as_large_as_the_image(served: SimpleNamespace) -> None:
    headers = PNG | {"accept": "image/jpeg"}
    response = served.client.post("/segment", content=encode(make_image(40, 56)), headers=headers)
    width, height = Image.open(BytesIO(response.content)).size
    assert width >= 56
    assert height >= 40


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (15, 15), (513, 511)])
def test_labels_have_the_size_of_the_image(served: SimpleNamespace, size: tuple[int, int]) -> None:
    response = served.client.post("/segment", content=encode(make_image(*size)), headers=PNG)
    assert labels_of(response).shape == size


REFUSALS = {
    "garbage": (b"garbage", PNG, 422, "bad-image"),
    "cut": (encode(make_image())[:100], PNG, 422, "bad-image"),
    "empty": (b"", PNG, 422, "no-image"),
    "too many bytes": (b"x" * 100_001, PNG, 413, "body-too-large"),
    "too many pixels": (encode(np.zeros((200, 200, 3), np.uint8)), PNG, 422, "bad-image"),
    "a kind we do not take": (b"{}", {"content-type": "text/html"}, 415, "unsupported-media-type"),
    "an answer we do not give": (
        encode(make_image()),
        PNG | {"accept": "text/html"},
        406,
        "not-acceptable",
    ),
    "a form without boundary": (
        b"x",
        {"content-type": "multipart/form-data"},
        400,
        "bad-form",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_a_problem_with_a_code(limited: SimpleNamespace, case: str) -> None:
    body, headers, status, code = REFUSALS[case]
    response = limited.client.post("/segment", content=body, headers=headers)
    assert code_of(response) == (status, code)
    assert limited.client.get("/v2/health/ready").status_code == 200


def test_a_chunked_body_over_the_limit_is_refused(start: Start) -> None:
    served = start(max_body_bytes=1000)
    response = served.client.post("/segment", content=iter([b"x" * 501] * 2), headers=PNG)
    assert code_of(response) == (413, "body-too-large")


def test_forms_have_few_parts_and_one_file(served: SimpleNamespace) -> None:
    many = [("image", ("x.png", b"x"))] * 1001
    assert code_of(served.client.post("/segment", files=many)) == (400, "bad-form")
    two = [("image", ("x.png", b"x"))] * 2
    assert code_of(served.client.post("/segment", files=two)) == (422, "not-one-image")


def test_unknown_paths_and_methods_are_problems(served: SimpleNamespace) -> None:
    client = served.client
    assert code_of(client.get("/nothing")) == (404, "not-found")
    assert code_of(client.get("/segment")) == (405, "method-not-allowed")


def test_a_token_is_required_for_all_but_health(start: Start) -> None:
    client = start(token="s3cret").client
    assert code_of(client.post("/segment", content=b"x")) == (401, "unauthorized")
    assert code_of(client.get("/metrics")) == (401, "unauthorized")
    assert client.get("/v2/health/live").status_code == 200
    allowed = client.get("/metrics", headers={"authorization": "Bearer s3cret"})
    assert allowed.status_code == 200


def test_tensors_give_the_same_labels_as_json_and_as_bytes(served: SimpleNamespace) -> None:
    images = np.stack([make_image(seed=1), make_image(seed=2)])
    expected = np.stack(served.predictor(list(images)))
    tensor = {"name": "image", "shape": list(images.shape), "datatype": "UINT8"}
    url = "/v2/models/tiny/infer"
    request = {"id": "7", "inputs": [tensor | {"data": images.ravel().tolist()}]}
    answer = served.client.post(url, json=request).json()
    assert answer["id"] == "7"
    output = answer["outputs"][0]
    np.testing.assert_array_equal(np.reshape(output["data"], output["shape"]), expected)

    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    response = served.client.post(url, content=head + images.tobytes(), headers=headers)
    length = int(response.headers["inference-header-content-length"])
    raw = np.frombuffer(response.content[length:], dtype=np.uint8)
    np.testing.assert_array_equal(raw.reshape(expected.shape), expected)


BAD_TENSORS = {
    "no json": (b"{", 400, "bad-json"),
    "no inputs": (b"{}", 422, "bad-request"),
    "no such tensor": (b'{"inputs": [{"name": "x"}]}', 422, "bad-request"),
    "too few numbers": (
        b'{"inputs": [{"name": "image", "shape": [1,2,2,3], "datatype": "UINT8", "data": [1]}]}',
        422,
        "bad-data",
    ),
    "fractions": (
        b'{"inputs": [{"name": "image", "shape": [1,1,1,3], "datatype": "UINT8", '
        b'"data": [1, 2.5, 3]}]}',
        422,
        "bad-data",
    ),
    "a size that is a lie": (
        b'{"inputs": [{"name": "image", "shape": [8,60000,60000,3], "datatype": "UINT8", '
        b'"data": []}]}',
        422,
        "too-large",
    ),
    "deep nesting": (b"[" * 100_000, 400, "bad-json"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_a_bad_tensor_is_refused(served: SimpleNamespace, case: str) -> None:
    body, status, code = BAD_TENSORS[case]
    response = served.client.post("/v2/models/tiny/infer", content=body)
    assert code_of(response) == (status, code)


def test_metadata_and_metrics_say_what_is_there(start: Start) -> None:
    served = start()
    model = served.client.get("/v2/models/tiny").json()
    assert model["outputs"][0]["datatype"] == "UINT8"
    served.client.post("/segment", content=encode(make_image()), headers=PNG)
    text = served.client.get("/metrics").text
    assert 'segmenter_requests_total{path="/segment",status="200"} 1.0' in text
    assert "segmenter_batch_size_count 1.0" in text
    assert set(served.client.get("/openapi.json").json()["paths"]) >= {"/segment", "/metrics"}


class HeldPredictor(Predictor):
    """Works only while it may, remembers what it was shown, and fails where it is told to."""

    fails = False

    def __init__(self) -> None:
        super().__init__(Segmenter(make_spec(3)))
        self.may_work = threading.Event()
        self.may_work.set()
        self.batches: list[int] = []
        self.shown: set[bytes] = set()

    def __call__(self, image: object) -> object:
        if isinstance(image, list):
            if self.fails:
                raise RuntimeError("a fault")
            self.batches.append(len(image))
            self.shown |= {each.tobytes() for each in image}
            assert self.may_work.wait(60)
        return super().__call__(image)


@pytest.fixture
def held() -> Iterator[HeldPredictor]:
    predictor = HeldPredictor()
    yield predictor
    predictor.may_work.set()  # else the service that is stopped waits for it


def segment(served: SimpleNamespace, image: np.ndarray) -> httpx.Response:
    return served.client.post("/segment", content=encode(image), headers=PNG)


def infer(served: SimpleNamespace, image: np.ndarray) -> httpx.Response:
    """As `segment`, but no process has to decode the image first."""
    pixels = {"name": "image", "shape": [1, *image.shape], "datatype": "UINT8"}
    pixels["data"] = image.ravel().tolist()
    return served.client.post("/v2/models/tiny/infer", json={"inputs": [pixels]})


def post_many(
    served: SimpleNamespace,
    count: int,
    meanwhile: Callable[[list], None] = lambda _: None,
    send: Callable[[SimpleNamespace, np.ndarray], httpx.Response] = segment,
) -> list[object]:
    """Images at the same time, each from a client of its own; `meanwhile` sees the answers come."""
    answers: list[object] = [None] * count

    def post(index: int) -> None:
        answers[index] = send(served, make_image(seed=index))

    threads = [threading.Thread(target=post, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    meanwhile(answers)
    for thread in threads:
        thread.join()
    return answers


def test_requests_at_once_share_batches_and_get_their_own_answers(
    start: Start, held: HeldPredictor
) -> None:
    served = start(held, max_requests=12, max_batch=8)
    held.may_work.clear()

    def until_all_are_in_line(_: list) -> None:
        line = served.service.batcher
        wait_until(lambda: held.batches and len(line._line) == 12 - held.batches[0])
        held.may_work.set()

    answers = post_many(served, 12, until_all_are_in_line)
    first, second, *rest = held.batches
    assert second == min(8, 12 - first)
    assert first + second + sum(rest) == 12
    for index, answer in enumerate(answers):
        np.testing.assert_array_equal(labels_of(answer), held(make_image(seed=index)))


def test_more_requests_than_allowed_are_told_to_come_back(
    start: Start, held: HeldPredictor
) -> None:
    served = start(held, max_requests=3)
    held.may_work.clear()

    def until_nine_are_refused(answers: list) -> None:
        wait_until(lambda: sum(each is not None for each in answers) == 9)
        held.may_work.set()

    answers = post_many(served, 12, until_nine_are_refused)
    refused = [each for each in answers if each.status_code != 200]
    assert [code_of(each) for each in refused] == [(429, "queue-full")] * 9
    assert all(each.headers["retry-after"] for each in refused)
    assert sum(held.batches) == 3


def test_a_request_past_its_deadline_is_answered_and_never_computed(
    start: Start, held: HeldPredictor
) -> None:
    served = start(held, max_batch=1, max_requests=8)
    last = make_image(seed=9)
    assert infer(served, last).is_success  # the first takes longer
    set_deadline(served, 1.0)
    held.may_work.clear()
    answers = post_many(served, 5, send=infer)
    assert {code_of(each) for each in answers} == {(504, "deadline")}
    held.may_work.set()
    set_deadline(served, PATIENT)
    assert infer(served, last).is_success
    assert len(held.shown - {last.tobytes()}) <= 1, "at most the one that was being computed"


@pytest.mark.slow
def test_a_client_that_left_is_skipped(start: Start, held: HeldPredictor) -> None:
    served = start(held, max_batch=1)
    held.may_work.clear()
    last, image = make_image(seed=9), make_image()
    body = encode(image)
    head = f"POST /segment HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
    sockets = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(4)]
    for each in sockets:
        each.sendall(head.encode() + b"\r\n\r\n" + body)
    wait_until(lambda: served.service.num_in_flight == 4 and held.batches)
    for each in sockets:
        each.close()
    wait_until(lambda: served.service.num_in_flight == 0)
    held.may_work.set()
    assert segment(served, last).is_success
    assert len(held.batches) == 2, "the one that was being computed, and the last"


def test_a_server_that_raises_when_a_client_left_is_understood() -> None:
    async def receive() -> dict:
        raise ConnectionError

    asyncio.run(departures.wait_until_gone(Request({"type": "http"}, receive)))


@pytest.mark.slow
def test_a_model_that_fails_is_a_500_and_the_next_request_is_answered(
    start: Start, held: HeldPredictor
) -> None:
    served = start(held)
    held.fails = True
    response = served.client.post("/segment", content=encode(make_image()), headers=PNG)
    assert code_of(response) == (500, "internal-error")
    held.fails = False
    assert (
        served.client.post("/segment", content=encode(make_image()), headers=PNG).status_code == 200
    )


@pytest.mark.parametrize("path", ["/segment", "/confidence"])
def test_a_lack_of_memory_is_a_503_that_says_what_to_do(
    served: SimpleNamespace, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with small_memory(0):
        response = served.client.post(path, content=encode(make_image()), headers=PNG)
    assert code_of(response) == (503, "out-of-memory")
    assert "fewer pixels" in response.json()["detail"]
    assert "Traceback" not in caplog.text
    assert served.client.post(path, content=encode(make_image()), headers=PNG).is_success


def test_a_body_that_does_not_come_is_a_408(start: Start) -> None:
    served = start(body_timeout=0.2)
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(b"POST /segment HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        assert b" 408 " in connection.recv(1000)


def test_a_service_that_stops_is_not_ready_and_takes_nothing_new(start: Start) -> None:
    served = start()
    served.service.is_draining = True
    assert served.client.get("/v2/health/ready").status_code == 503
    assert served.client.get("/v2/health/live").status_code == 200
    refused = served.client.post("/segment", content=encode(make_image()), headers=PNG)
    assert code_of(refused) == (503, "stopping")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason=f"{NOT_HERE}: /proc")
def test_a_decoding_process_does_without_torch() -> None:
    process = decoding._Process(1 << 32, Reading())
    try:
        assert process.decode(encode(make_image()), ServiceSettings(), None) is not None
        assert "libtorch" not in Path(f"/proc/{process._process.pid}/maps").read_text()
    finally:
        process.kill()


@pytest.mark.slow
def test_decoding_processes_that_die_are_replaced(start: Start) -> None:
    served = start()
    assert served.client.post("/segment", content=encode(make_image()), headers=PNG).is_success
    for process in multiprocessing.active_children():
        process.kill()
    assert served.client.post("/segment", content=encode(make_image()), headers=PNG).is_success
    assert served.client.post("/segment", content=encode(make_image()), headers=PNG).is_success


def test_a_connection_that_says_nothing_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEAD_TIMEOUT", 0.2)
    served = start()
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(b"POST /segment HTTP/1.1\r\nhost:")
        connection.settimeout(60)
        assert connection.recv(1000) == b""


def test_a_local_service_answers_no_page_from_elsewhere(start: Start) -> None:
    client = start(is_local=True).client
    assert client.get("/v2").is_success
    assert code_of(client.get("/v2", headers={"host": "evil.example"})) == (421, "wrong-host")


def test_an_image_beyond_the_memory_of_its_process_is_refused(start: Start) -> None:
    served = start(decode_memory=64 << 20)
    large = encode(np.zeros((5000, 5000, 3), np.uint8), "JPEG")
    assert code_of(served.client.post("/segment", content=large)) == (422, "bad-image")
    assert served.client.post("/segment", content=encode(make_image())).is_success


TERMS = "Fragt die Großtante."


def with_license(license: str) -> Predictor:
    return Predictor(Segmenter(make_spec(3).model_copy(update={"license": license})))


@pytest.mark.parametrize("path", ["/segment", "/confidence", "/attention?layer=0&row=0&column=0"])
def test_what_a_model_with_terms_computed_has_them_in_a_header(start: Start, path: str) -> None:
    served = start(with_license(TERMS))
    response = served.client.post(path, content=encode(make_image()), headers=PNG)
    assert response.status_code == 200
    assert response.headers["x-model-license"] == r"Fragt die Gro\xdftante."


@pytest.mark.parametrize("license", ["", "Apache-2.0 AND MIT"])
def test_a_model_without_terms_adds_no_header(start: Start, license: str) -> None:
    served = start(with_license(license))
    response = served.client.post("/segment", content=encode(make_image()), headers=PNG)
    assert "x-model-license" not in response.headers
    assert served.client.get("/model.json").json()["license"] == license


def test_the_licence_is_part_of_what_the_service_says_of_its_model(start: Start) -> None:
    served = start(with_license(TERMS))
    assert served.client.get("/model.json").json()["license"] == TERMS
    model = served.client.get("/v2/models/tiny").json()
    assert model["parameters"]["license"] == TERMS


def test_the_threshold_is_part_of_what_the_service_says_of_its_model(start: Start) -> None:
    served = start(Predictor(one_class_model(), threshold=0.3))
    assert served.client.get("/model.json").json()["threshold"] == 0.3
    assert served.client.get("/v2/models/tiny").json()["parameters"]["threshold"] == 0.3
