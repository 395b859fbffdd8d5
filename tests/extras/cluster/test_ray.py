"""A Ray of this machine's own: docs/how-to/cluster.md's examples, and the service behind its proxy.

Ray runs beside a process of its own, which is stopped with it: it starts a dozen others, sets
handlers of signals, and warns of its own deprecated settings.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from tests.helpers.models import make_spec
from tests.helpers.paths import REPOSITORY
from tests.helpers.ports import free_port
from tests.helpers.services import encode, make_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs ray (the extra `ray`)"),
]
DOCS = REPOSITORY / "docs/how-to/cluster.md"
PATIENT = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "600",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "600",
}
"""Limits of Ray that a busy machine would miss: a dozen processes start."""
START = """
import sys
from contextlib import suppress
import ray
from ray._private import services
sys.path.append({repository!r})
from tests.helpers.waiting import wait_until

def find_node(*given, find=services.get_node):  # `ray.init` gives up after 30 seconds
    found = []
    def is_there():
        with suppress(RuntimeError):
            found.append(find(*given))
        return found
    wait_until(is_there, seconds=300)
    return found[0]

services.get_node = find_node
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20,
         _node_ip_address="127.0.0.1", log_to_driver=False, logging_level="error",
         _temp_dir="{folder}")
"""
SERVE = """
import json, sys, threading
import httpx
from pathlib import Path
from ray import serve
from ray.serve._private import api
from segmenter.extras.cluster.ray_serve import ServiceArguments, application

api.HTTP_PROXY_TIMEOUT = 600  # as `PATIENT`, but fixed
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
arguments = ServiceArguments(model=MODEL, runtime="torch", max_requests=1, max_queued_requests=4)
serve.run(application(arguments))
client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=240)
body, large = Path("photo.png").read_bytes(), Path("large.png").read_bytes()
bearer = {"authorization": "Bearer s3cret"}

def post(content, **headers):
    return client.post("/segment", content=content, headers=bearer | headers)

Path("labels.png").write_bytes(post(body).content)
codes = {
    "json": post(body, accept="application/json").json()["height"],
    "garbage": post(b"garbage").json()["code"],
    "no token": client.post("/segment", content=body).json()["code"],
    "elsewhere": post(body, host="evil.example").json()["code"],
    "ready": client.get("/v2/health/ready").json()["ready"],
}
answers = []
threads = [threading.Thread(target=lambda: answers.append(post(large))) for _ in range(12)]
for each in threads: each.start()
for each in threads: each.join()
codes["burst"] = sorted({each.status_code for each in answers})
codes["retry"] = all("retry-after" in each.headers for each in answers if each.status_code == 429)
Path("codes.json").write_text(json.dumps(codes))
serve.shutdown()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images and a model."""
    monkeypatch.chdir(tmp_path)
    save(Segmenter(make_spec()).eval(), "tiny.safetensors")
    Path("photos").mkdir()
    for number, size in enumerate([(40, 56), (56, 40), (40, 56)]):
        Image.fromarray(make_image(*size, seed=number)).save(f"photos/{number}.png")
    Path("photos/cut.png").write_bytes(encode(make_image())[:90])
    return tmp_path


def run_with_ray(code: str, folder: Path) -> str:
    """What a program prints that has a Ray for itself; all processes of it are ended."""
    scratch = tempfile.mkdtemp(prefix="ray-")  # short: a socket's path has at most 107 bytes
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{START.format(folder=scratch, repository=str(REPOSITORY))}\n{code}\nray.shutdown()",
        ],
        cwd=folder,
        env=os.environ | PATIENT | {"RAY_USAGE_STATS_ENABLED": "0", "SEGMENTER_TOKEN": "s3cret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=900)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(scratch, ignore_errors=True)
    assert process.returncode == 0, said
    return said


def test_the_examples_for_ray_data_label_what_predict_does(here: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    model = str(here / "tiny.safetensors")
    code = "\n".join(examples).replace('"street"', f'{model!r}, "runtime": "torch"')
    said = run_with_ray(code, here)
    assert "cut.png" in said.splitlines()[-1]
    predictor = Predictor(model, runtime="torch")
    for number in range(3):
        expected = predictor(np.array(Image.open(f"photos/{number}.png")))
        written = np.array(Image.open(f"predictions/{number}_label.png"))
        np.testing.assert_array_equal(written, expected)
    assert not Path("predictions/cut_label.png").exists()
    assert [*Path("labels").glob("*.parquet")]


def test_ray_serve_answers_as_the_service_does(here: Path) -> None:
    Path("photo.png").write_bytes(encode(make_image()))
    Path("large.png").write_bytes(encode(make_image(1500, 1500)))
    model = str(here / "tiny.safetensors")
    run_with_ray(f"MODEL, PORT = {model!r}, {free_port()}\n{SERVE}", here)
    codes = json.loads(Path("codes.json").read_text())
    labels = np.array(Image.open("labels.png"))
    np.testing.assert_array_equal(labels, Predictor(model, runtime="torch")(make_image()))
    assert codes.pop("burst") in ([200, 429], [200, 429, 503])
    assert codes == {
        "json": 40,
        "garbage": "bad-image",
        "no token": "unauthorized",
        "elsewhere": "wrong-host",
        "ready": True,
        "retry": True,
    }
