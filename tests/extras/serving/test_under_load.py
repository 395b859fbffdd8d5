"""The service with more to do than it can: who is answered, who is refused, and how it stops."""

import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from segmenter.extras.serving import decoding
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.extras.serving.killer import KILLER, die_of_killer
from tests.helpers.models import make_spec
from tests.helpers.services import (
    PNG,
    Start,
    code_of,
    encode,
    labels_of,
    make_image,
    serving_process,
)
from tests.helpers.waiting import wait_until

CLIENTS, QUEUE, REQUESTS = 64, 16, 200


def post_all(port: int, bodies: list[bytes], clients: int) -> list[httpx.Response]:
    """Post bodies over so many connections at a time."""
    limits = httpx.Limits(max_connections=clients)
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=240, limits=limits) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        return list(
            pool.map(lambda body: client.post("/segment", content=body, headers=PNG), bodies)
        )


def test_64_clients_on_a_queue_of_16_are_answered_or_told_to_come_back(start: Start) -> None:
    served = start(max_requests=QUEUE)
    seen = []
    note = served.service.metrics.in_flight.set
    served.service.metrics.in_flight.set = lambda value: (seen.append(value), note(value))
    images = [make_image(96, 128, seed=index) for index in range(REQUESTS)]
    answers = post_all(served.port, [encode(each) for each in images], CLIENTS)

    refused = [each for each in answers if not each.is_success]
    assert refused
    for each in refused:
        assert code_of(each) == (429, "queue-full")
        assert int(each.headers["retry-after"]) > 0
    assert max(seen) <= QUEUE
    accepted = [(index, each) for index, each in enumerate(answers) if each.is_success]
    assert len(accepted) >= QUEUE
    assert largest_batch(served.client.get("/metrics").text) > 1
    agrees = [labels_of(each) == served.predictor(images[index]) for index, each in accepted]
    assert np.mean(agrees) >= 0.9999


def largest_batch(metrics: str) -> int:
    """The smallest bound below which all batches were."""
    counts = re.findall(r'segmenter_batch_size_bucket{le="([\d.]+)"} ([\d.]+)', metrics)
    total = float(re.findall(r"segmenter_batch_size_count ([\d.]+)", metrics)[0])
    return next(int(float(bound)) for bound, count in counts if float(count) == total)


@pytest.mark.slow
def test_sigterm_under_load_refuses_at_once_and_finishes_what_was_begun(tmp_path: Path) -> None:
    large = encode(make_image(900, 1200), "JPEG")
    with serving_process(tmp_path) as served:
        served.client.post("/segment", content=large)
        with ThreadPoolExecutor(1) as pool, unfinished_request(served):
            load = pool.submit(post_all, served.port, [large] * 8, 8)
            wait_until(lambda: in_flight(served) >= 5)
            served.process.send_signal(signal.SIGTERM)
            stopped = time.monotonic()
            wait_until(lambda: states(served.port) == "503")
            answers = load.result()
        for each in answers:
            assert each.is_success or code_of(each) == (503, "stopping")
        assert sum(each.is_success for each in answers) >= 4
        assert served.process.wait(31 - (time.monotonic() - stopped)) == 0
        assert "Traceback" not in served.log.read_text()


def states(port: int) -> str:
    """What `ready` says: a status, or `shut` where nobody listens."""
    try:
        return str(httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=60).status_code)
    except httpx.TransportError:
        return "shut"


@contextmanager
def unfinished_request(served: SimpleNamespace) -> Iterator[socket.socket]:
    """A request whose body does not come: for 10 s, a service that ends waits for it."""
    head = b"POST /segment HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc"
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(head)
        yield connection


def in_flight(served: SimpleNamespace) -> float:
    text = served.client.get("/metrics").text
    return float(re.findall(r"segmenter_requests_in_flight ([\d.]+)", text)[0])


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with serving_process(tmp_path) as served, unfinished_request(served) as unfinished:
        wait_until(lambda: in_flight(served) >= 1)
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: states(served.port) == "503")
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(60)
        with suppress(ConnectionResetError):
            assert b" 408 " not in unfinished.recv(1000)  # the body had time left to come


@pytest.mark.slow
def test_an_image_that_kills_its_decoder_is_refused_and_harms_no_other(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "decode_as", die_of_killer)
    served = start()
    bodies = [encode(make_image(seed=index)) for index in range(8)]
    bodies[3] = KILLER
    answers = post_all(served.port, bodies, 8)
    assert code_of(answers[3]) == (422, "bad-image")
    assert all(each.is_success for index, each in enumerate(answers) if index != 3)
    assert served.client.post("/segment", content=bodies[0], headers=PNG).is_success


@pytest.mark.slow
def test_a_model_that_fails_for_a_batch_fails_for_no_other(start: Start) -> None:
    class Failing(Predictor):
        def __call__(self, image: object) -> object:
            if any((each == 0).all() for each in image):
                raise RuntimeError("a secret of the model")
            return super().__call__(image)

    served = start(Failing(Segmenter(make_spec(3))), max_batch=1)
    bodies = [encode(make_image(seed=index)) for index in range(6)]
    bodies[2] = encode(np.zeros((40, 56, 3), dtype=np.uint8))
    answers = post_all(served.port, bodies, 6)
    assert code_of(answers[2]) == (500, "internal-error")
    assert "secret" not in answers[2].text
    assert all(each.is_success for index, each in enumerate(answers) if index != 2)
