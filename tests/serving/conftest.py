"""A service on a port of its own, with a tiny model, for tests that speak HTTP."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from segmenter.serving.app import Service
from segmenter.serving.server import make_config
from segmenter.serving.settings import ServiceSettings
from tests.conftest import make_spec

Start = Callable[..., SimpleNamespace]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a service; gives an HTTP client, the predictor, and the service itself."""
    running = []

    def run(predictor: Predictor | None = None, **settings: object) -> SimpleNamespace:
        predictor = predictor or Predictor(Segmenter(make_spec(3, decoder="mask")))
        service = Service(predictor, "tiny", ServiceSettings(**settings))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = uvicorn.Server(make_config(service, "127.0.0.1", port))
        thread = threading.Thread(target=server.run)
        thread.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        running.append((server, thread, client))
        while not server.started:
            time.sleep(0.01)
        return SimpleNamespace(client=client, predictor=predictor, service=service, port=port)

    yield run
    for server, thread, client in running:
        client.close()
        server.should_exit = True
        thread.join(30)


def photo(height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    """Coarse noise, so that there are regions."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    file = BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()
