"""Requests that would take long: each has its time, and small ones get their turn meanwhile."""

import asyncio
import io
import json
import multiprocessing
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

from segmenter.extras.serving import decoding, places
from segmenter.extras.serving.decode_process import Reading
from segmenter.extras.serving.places import Place, Places
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.extras.serving.turns import Turns
from segmenter.inference.predictor import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from tests.extras.serving.killer import spin_on_large
from tests.helpers.models import make_spec
from tests.helpers.services import (
    PATIENT,
    PNG,
    Start,
    code_of,
    encode,
    labels_of,
    make_image,
    set_deadline,
)
from tests.helpers.waiting import wait_until, work_for

SMALL, LARGE = make_image(40, 56), make_image(160, 200)
INFER = "/v2/models/tiny/infer"

pytestmark = pytest.mark.slow  # each waits for deadlines


def tensor(image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request for one image, in binary."""
    stated = {"name": "image", "shape": [1, *image.shape], "datatype": "UINT8"}
    head = json.dumps({"inputs": [stated]}).encode()
    return head + image.tobytes(), {"inference-header-content-length": str(len(head))}


def request_of(path: str, image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    return tensor(image) if path == INFER else (encode(image), PNG)


def post(served: SimpleNamespace, path: str, image: np.ndarray) -> httpx.Response:
    body, headers = request_of(path, image)
    return served.client.post(path, content=body, headers=headers)


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(start: Start) -> None:
    served = start()
    answer = served.client.post("/segment", content=many_scans(1000))
    assert code_of(answer) == (422, "bad-image")
    assert "scans; at most 100" in answer.json()["detail"]
    assert served.client.post("/segment", content=many_scans(0)).is_success


@pytest.mark.parametrize("shape", [(9, 9, 4), (1 << 20, 1 << 20, 3)])
def test_a_decoder_that_answers_with_another_array_is_ended(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = decoding._Process(1 << 32, Reading())
    monkeypatch.setattr(process, "_connection", ours)
    theirs.send_bytes(json.dumps({"shape": shape}).encode())
    with pytest.raises(decoding._DiedError):
        process.decode(b"", ServiceSettings(), None)
    assert not process._process.is_alive()


@pytest.fixture
def spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large images are decoded for ever."""
    monkeypatch.setattr(decoding, "decode_as", spin_on_large)


@pytest.mark.usefixtures("spinning")
def test_a_decoder_that_uses_up_its_time_is_ended_and_replaced(start: Start) -> None:
    served = start(decode_seconds=0.3)
    answer = post(served, "/segment", LARGE)
    assert code_of(answer) == (422, "bad-image")
    assert "within its time" in answer.json()["detail"]
    assert post(served, "/segment", SMALL).is_success


@pytest.mark.usefixtures("spinning")
def test_a_decoder_whose_request_is_over_is_ended(start: Start) -> None:
    served = start(decode_seconds=100.0)
    assert post(served, "/segment", SMALL).is_success
    decoders = multiprocessing.active_children()
    set_deadline(served, 3.0)
    began = time.process_time()
    assert code_of(post(served, "/segment", LARGE)) == (504, "deadline")
    wait_until(lambda: not all(each.is_alive() for each in decoders))
    assert time.process_time() - began < 3
    set_deadline(served, PATIENT)
    assert post(served, "/segment", SMALL).is_success


def test_clients_that_come_and_go_leave_the_decoders_as_they_are(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_END_TIMEOUT", PATIENT)
    served = start()
    assert post(served, "/segment", SMALL).is_success
    (before,) = multiprocessing.active_children()

    def busy() -> bool:
        return served.service.num_in_flight == 1

    for _ in range(20):
        wait_until(lambda: not busy())
        send_and_leave(served, "/segment", make_image(1000, 1000), lambda: wait_until(busy))
    assert post(served, "/segment", SMALL).is_success
    assert before in multiprocessing.active_children()


@pytest.mark.usefixtures("spinning")
def test_large_images_leave_a_decoder_to_small_ones(start: Start) -> None:
    served = start(large_pixels=10_000, decode_seconds=100.0, max_requests=8)
    with ThreadPoolExecutor(3) as pool:
        large = [pool.submit(post, served, "/segment", LARGE) for _ in range(3)]
        wait_until(lambda: served.service.num_in_flight == 3)
        answers = [post(served, "/segment", SMALL) for _ in range(3)]
        assert all(each.is_success for each in answers)
        assert not any(each.done() for each in large)
        served.service.decoder.close()


class CountingPredictor(Predictor):
    """Sees images through windows of 32 pixels; each pass takes 0.1 s."""

    def __init__(self) -> None:
        spec = make_spec(3).model_copy(
            update={"protocol": EvaluationProtocol(name="windows", window=32, stride=32)}
        )
        super().__init__(Segmenter(spec))
        self.num_passes = 0
        inner = self.runtime.patch_logits

        def patch_logits(pixels: object) -> object:
            self.num_passes += 1
            work_for(0.1)
            return inner(pixels)

        self.runtime.patch_logits = patch_logits


@pytest.mark.parametrize("path", ["/segment", "/confidence", INFER])
def test_a_small_image_gets_its_turn_between_slices_of_a_large_one(start: Start, path: str) -> None:
    predictor = CountingPredictor()
    served = start(predictor, large_pixels=10_000)
    assert post(served, "/segment", SMALL).is_success
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(post, served, path, make_image(320, 400))
        wait_for_passes(predictor, 3)
        assert post(served, "/segment", SMALL).is_success
        assert not large.done()
        assert large.result().is_success


def test_labels_computed_in_slices_are_those_of_the_predictor(start: Start) -> None:
    predictor = CountingPredictor()
    served = start(predictor, large_pixels=10_000)
    np.testing.assert_array_equal(labels_of(post(served, "/segment", LARGE)), predictor(LARGE))


@pytest.mark.parametrize("path", ["/segment", "/confidence", INFER])
def test_a_large_image_is_given_up_when_its_client_leaves(start: Start, path: str) -> None:
    predictor = CountingPredictor()
    served = start(predictor, large_pixels=10_000)
    send_and_leave(served, path, make_image(320, 400), lambda: wait_for_passes(predictor, 2))
    wait_until(lambda: served.service.num_in_flight == 0)
    assert_idle(served, predictor)
    assert predictor.num_passes < 100  # of the 130 that it takes


@pytest.mark.parametrize("path", ["/segment", "/confidence", INFER])
def test_a_large_image_is_given_up_at_its_deadline(start: Start, path: str) -> None:
    predictor = CountingPredictor()
    served = start(predictor, large_pixels=10_000, deadline=2.0)
    assert code_of(post(served, path, make_image(640, 640))) == (504, "deadline")
    wait_until(lambda: served.service.num_in_flight == 0)
    assert_idle(served, predictor)


def assert_idle(served: SimpleNamespace, predictor: CountingPredictor) -> None:
    """Show a small image: it needs its own passes, and at most one more was on its way."""
    set_deadline(served, PATIENT)
    before = predictor.num_passes
    assert post(served, "/segment", SMALL).is_success
    first = predictor.num_passes - before
    assert post(served, "/segment", SMALL).is_success
    own = predictor.num_passes - before - first
    assert own <= first <= own + 1


def test_a_row_of_pixels_that_would_be_enlarged_to_billions_is_refused(start: Start) -> None:
    protocol = EvaluationProtocol(window=512, stride=512, small_image="enlarge")
    spec = make_spec(3).model_copy(update={"protocol": protocol})
    served = start(Predictor(Segmenter(spec)))
    for path in ("/segment", "/confidence", INFER):
        answer = post(served, path, np.zeros((1, 65535, 3), np.uint8))
        assert code_of(answer) == (422, "too-large")
        assert "looks at 17179607040 pixels" in answer.json()["detail"]


def test_a_model_without_windows_is_shown_no_large_image(start: Start) -> None:
    served = start(max_pass_pixels=10_000)
    assert post(served, "/segment", SMALL).is_success
    for path in ("/segment", "/confidence", INFER):
        assert code_of(post(served, path, LARGE)) == (422, "too-large")


def test_each_flipped_or_turned_image_is_a_look_of_its_own(start: Start, tiny_model) -> None:
    most = SMALL.shape[0] * SMALL.shape[1]
    served = start(Predictor(tiny_model, symmetry="d4"), max_pass_pixels=most)
    assert post(served, "/segment", SMALL).is_success
    assert code_of(post(served, "/segment", np.zeros((most + 1, 1, 3), np.uint8))) == (
        422,
        "too-large",
    )


@pytest.mark.parametrize("path", ["/confidence", "/attention?layer=0&row=0&column=0"])
def test_nothing_is_computed_for_a_client_that_left_the_line(
    start: Start, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    served = start()
    assert post(served, "/segment", SMALL).is_success
    calls = []
    name = path[1:].partition("?")[0]
    monkeypatch.setattr(f"segmenter.extras.serving.app.{name}", lambda *_: calls.append(1))
    with served.service.batcher._turns:  # the model is at work for someone else
        post_in_line = ThreadPoolExecutor(1).submit(post, served, "/segment", SMALL)
        wait_until(lambda: served.service.batcher._turns._line)
        send_and_leave(
            served, path, SMALL, lambda: wait_until(lambda: served.service.num_in_flight == 2)
        )
        wait_until(lambda: served.service.num_in_flight == 1)
    assert post_in_line.result().is_success
    assert post(served, "/segment", SMALL).is_success
    assert not calls


def send_and_leave(served: SimpleNamespace, path: str, image: np.ndarray, wait: object) -> None:
    body, headers = request_of(path, image)
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        wait()


def wait_for_passes(predictor: CountingPredictor, count: int) -> None:
    seen = predictor.num_passes
    wait_until(lambda: predictor.num_passes >= seen + count)


def test_a_slow_body_gives_its_place_to_who_needs_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(max_requests=2)
    head = b"POST /segment HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", served.port)) as slow,
        socket.create_connection(("127.0.0.1", served.port)) as slower,
    ):
        slow.sendall(head + b"x" * 50)
        slower.sendall(head + b"x")
        wait_until(lambda: served.service.num_in_flight == 2)
        monkeypatch.setattr(places, "_SLOW_AFTER", 60.0)
        assert code_of(post(served, "/segment", SMALL)) == (429, "queue-full")
        monkeypatch.setattr(places, "_SLOW_AFTER", 0.0)
        assert post(served, "/segment", SMALL).is_success
        slower.settimeout(60)
        assert b" 408 " in slower.recv(1000)
        wait_until(lambda: served.service.num_in_flight == 1)


def test_half_of_the_places_are_for_large_images() -> None:
    all_places = Places(4, lambda _: None)
    first, second, third = (all_places.take("a") for _ in range(3))
    with first as one, second as two, third as three:
        all_places.take_large(one)
        all_places.take_large(two)
        with pytest.raises(RequestError, match="2 large images are being worked on"):
            all_places.take_large(three)


def test_the_client_with_most_slow_bodies_loses_a_place_first() -> None:
    long_ago = time.monotonic() - 10
    all_places = Places(3, lambda _: None)
    ended = []

    class Reading(asyncio.Timeout):
        def __init__(self, name: str) -> None:
            super().__init__(None)
            self.name = name

        def reschedule(self, _when: float | None) -> None:
            ended.append(self.name)

    bodies = {"slowest": ("a", 1), "fast of two": ("b", 900), "slow of two": ("b", 50)}
    for name, (client, num_bytes) in bodies.items():
        all_places._add(Place(client, long_ago, num_bytes, Reading(name)))
    with all_places.take("c"):
        assert ended == ["slow of two"]
        assert all_places.num_taken == 3


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = Turns(), []

    def work(name: int) -> None:
        with turns:
            order.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    with turns:
        for count, thread in enumerate(threads, start=1):
            thread.start()
            wait_until(lambda count=count: len(turns._line) == count)
    for thread in threads:
        thread.join()
    assert order == list(range(8))
