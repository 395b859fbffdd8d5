"""A service on a port of its own, with a tiny model, for tests that speak HTTP."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import uvicorn
from PIL import Image

from segmenter.checkpoints import save
from segmenter.extras.serving.app import Service
from segmenter.extras.serving.server import make_config
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.models import make_spec
from tests.helpers.ports import free_port
from tests.helpers.waiting import wait_until

Start = Callable[..., SimpleNamespace]


PNG = {"content-type": "image/png"}
PATIENT = 120.0
"""A deadline that a busy machine does not miss, in seconds."""


@contextmanager
def serving(predictor: Predictor | None = None, **settings: object) -> Iterator[SimpleNamespace]:
    """Run a service in a thread; gives an HTTP client, the predictor, and the service itself.

    The deadline is `PATIENT`, unless the settings name another.
    """
    predictor = predictor or Predictor(Segmenter(make_spec(3, decoder="mask")))
    service = Service(predictor, "tiny", ServiceSettings(**{"deadline": PATIENT} | settings))
    # Port 0: the system chooses one that no other test is about to take.
    server = uvicorn.Server(make_config(service, "127.0.0.1", 0))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    assert server.started, "the service did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        try:
            yield SimpleNamespace(
                client=client,
                predictor=predictor,
                service=service,
                port=port,
                connections=server.server_state.connections,
            )
        finally:  # a test that fails must not leave the thread running
            server.should_exit = True
    thread.join(120)


def set_deadline(served: SimpleNamespace, seconds: float) -> None:
    """Give a running service another deadline."""
    served.service.settings = replace(served.service.settings, deadline=seconds)


@contextmanager
def serving_process(
    folder: Path, model: Segmenter | None = None, options: Sequence[str] = ()
) -> Iterator[SimpleNamespace]:
    """Run `segmenter serve`; gives a client, the process, and the file that it logs into."""
    path, log = folder / "tiny.safetensors", folder / "service.log"
    save(model or Segmenter(make_spec(3)), path)
    port = free_port()
    command = [sys.executable, "-m", "segmenter", "serve", str(path), "--port", str(port)]
    command += options
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            wait_until(lambda: process.poll() is not None or _is_ready(client), 600)
            assert process.poll() is None, log.read_text()
            yield SimpleNamespace(client=client, process=process, log=log, port=port)
    finally:
        process.kill()
        process.wait()


def _is_ready(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/v2/health/ready").is_success
    return False


def make_image(height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    """Coarse noise, so that there are regions."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    file = BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def labels_of(response: httpx.Response) -> np.ndarray:
    """The label map of an answer."""
    return np.array(Image.open(BytesIO(response.content)))


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which is a problem in one line."""
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert content["status"] == response.status_code
    assert "\n" not in content["detail"]
    return response.status_code, content["code"]
