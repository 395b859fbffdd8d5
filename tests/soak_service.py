"""A service under honest and hostile clients at once, for as long as is asked.

    python -m tests.soak_service --seconds 600

Every honest request is answered right within 5 s, or refused with 429 at once; afterwards the
memory of the service and of its processes is back to within 50 MB; SIGTERM under this load ends it
within 30 s. The exit status is 1 where one of these does not hold.
"""

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np

from segmenter.inference.predictor import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from tests.helpers import hostile
from tests.helpers.hostile import ATTACKS
from tests.helpers.models import make_spec
from tests.helpers.services import encode, labels_of, make_image, serving_process

MAX_SECONDS = 5.0  # for an honest answer
MAX_REFUSAL_SECONDS = 1.0
MAX_GROWTH = 50e6  # bytes
MAX_STOP_SECONDS = 30.0
HONEST_CLIENTS = 4
HOSTILE_CLIENTS = 6
INFER = "/v2/models/tiny/infer"


@dataclass
class Record:
    """What became of the requests of all clients."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Of honest requests."""
    seconds: list[float] = field(default_factory=list)
    """Of honest requests that were answered."""
    refusals: list[float] = field(default_factory=list)
    """Seconds of those that were refused."""
    attacks: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def honest_requests(predictor: Predictor) -> list[tuple[dict, Callable[[httpx.Response], bool]]]:
    """Requests, as `httpx` takes them, each with what tells whether an answer is right."""
    requests: list[tuple[dict, Callable[[httpx.Response], bool]]] = []
    for index in range(8):
        image = make_image(64 + 8 * index, 96, seed=index)
        expected = predictor(image)

        def is_label_map(answer: httpx.Response, expected: np.ndarray = expected) -> bool:
            return np.mean(labels_of(answer) == expected) > 0.999

        def is_tensor(answer: httpx.Response, expected: np.ndarray = expected) -> bool:
            data = np.array(answer.json()["outputs"][0]["data"])
            return np.mean(data == expected.ravel()) > 0.999

        kind = ["PNG", "JPEG"][index % 2]
        sent = image if kind == "PNG" else None
        body, headers = encode(image, "PNG"), {"content-type": "image/png"}
        requests.append(({"url": "/segment", "content": body, "headers": headers}, is_label_map))
        tensor = {"name": "image", "shape": [1, *image.shape], "datatype": "UINT8"}
        values = image.tolist() if sent is not None else image.ravel().tolist()
        request = {"inputs": [tensor | {"data": [values] if sent is not None else values}]}
        requests.append(({"url": INFER, "json": request}, is_tensor))
        requests.append(({"url": "/confidence", "content": body, "headers": headers}, is_png))
    return requests


def is_png(answer: httpx.Response) -> bool:
    """Whether the answer is a picture."""
    return answer.content.startswith(b"\x89PNG")


def be_honest(port: int, requests: list, until: threading.Event, record: Record) -> None:
    """Ask one request after the other, as a page would."""
    chance = random.Random(threading.get_ident())
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        while not until.is_set():
            request, is_right = chance.choice(requests)
            start = time.monotonic()
            try:
                answer = client.post(**request)
            except httpx.TransportError as error:
                if not until.is_set():
                    record.faults.append(f"{request['url']}: {type(error).__name__}")
                continue
            seconds = time.monotonic() - start
            note_answer(request["url"], answer, is_right, seconds, record, until)
            until.wait(0.05 if answer.is_success else 0.5)


def note_answer(
    url: str,
    answer: httpx.Response,
    is_right: Callable[[httpx.Response], bool],
    seconds: float,
    record: Record,
    until: threading.Event,
) -> None:
    """Count an answer, and what is wrong with it."""
    status = answer.status_code
    record.statuses[status] += 1
    if until.is_set():
        return
    if status == 200:
        record.seconds.append(seconds)
        if seconds > MAX_SECONDS:
            record.faults.append(f"{url}: answered after {seconds:.1f} s")
        if not is_right(answer):
            record.faults.append(f"{url}: a wrong answer")
    elif status == 429:
        record.refusals.append(seconds)
        if seconds > MAX_REFUSAL_SECONDS:
            record.faults.append(f"{url}: refused after {seconds:.1f} s")
    else:
        record.faults.append(f"{url}: {status} {answer.text[:200]}")


def be_hostile(port: int, until: threading.Event, record: Record) -> None:
    """Do one attack after the other, in an order of chance."""
    chance = random.Random(threading.get_ident())
    while not until.is_set():
        name = chance.choice(sorted(ATTACKS))
        record.attacks[name] += 1
        with contextlib.suppress(OSError, httpx.TransportError):
            ATTACKS[name](port, until)


@contextlib.contextmanager
def load(port: int, requests: list, record: Record) -> Iterator[threading.Event]:
    """All clients at work; ends them when it is left."""
    until = threading.Event()
    threads = [
        threading.Thread(target=be_honest, args=(port, requests, until, record))
        for _ in range(HONEST_CLIENTS)
    ]
    threads += [
        threading.Thread(target=be_hostile, args=(port, until, record))
        for _ in range(HOSTILE_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield until
    finally:
        until.set()
        for thread in threads:
            thread.join()


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and of all that it started."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = int(status.partition("VmRSS:")[2].split()[0]) * 1024 if "VmRSS" in status else 0
    threads = [path.name for path in Path(f"/proc/{pid}/task").iterdir() if path.name != str(pid)]
    for thread in threads:
        with contextlib.suppress(OSError):
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    return own + sum(tree_memory(int(child)) for child in children)


def soak(seconds: float, predictor: Predictor, record: Record) -> dict[str, float]:
    """The long run; gives memory before, at its peak and after, in MB."""
    requests = honest_requests(predictor)
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), predictor) as served:
        pid = served.process.pid
        warm_up(served, requests)
        before = peak = steady_memory(pid)
        with load(served.port, requests, record):
            end = time.monotonic() + seconds
            while time.monotonic() < end and served.process.poll() is None:
                time.sleep(0.5)
                peak = max(peak, tree_memory(pid))
        after = settled_memory(served, before)
        if after - before > MAX_GROWTH:
            record.faults.append(f"memory grew by {(after - before) / 1e6:.0f} MB")
        if not record.seconds:
            record.faults.append("no honest request was answered")
        if "Traceback" in served.log.read_text():
            record.faults.append("a traceback in the log")
    return {"before": before / 1e6, "peak": peak / 1e6, "after": after / 1e6}


def started(folder: Path, predictor: Predictor) -> contextlib.AbstractContextManager:
    """A service with the model."""
    return serving_process(
        folder, predictor.model, ["--runtime", "torch", "--precision", "float32"]
    )


def warm_up(served: SimpleNamespace, requests: list) -> None:
    """Ask all honest requests, some at a time, and a few large ones.

    All processes and threads are there then, and what libraries load or keep at their first use.
    """
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=60) as client:
        for _ in range(3):
            threads = [
                threading.Thread(target=lambda request=request: client.post(**request))
                for request, _ in requests[:12]
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    for attack in (hostile.large_image, hostile.large_confidence, hostile.large_tensor):
        attack(served.port, threading.Event())


def steady_memory(pid: int, seconds: int = 5) -> int:
    """Memory once what large images took is given back: it has not fallen for some seconds."""
    lowest, since = tree_memory(pid), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.5)
        memory = tree_memory(pid)
        if memory < lowest - MAX_GROWTH / 10:
            lowest, since = memory, time.monotonic()
    return lowest


def settled_memory(served: SimpleNamespace, before: int) -> int:
    """Memory once nothing is worked on; at most a minute later."""
    end = time.monotonic() + 60
    while True:
        memory = tree_memory(served.process.pid)
        if memory - before <= MAX_GROWTH or time.monotonic() > end:
            return memory
        time.sleep(1)


def stop_under_load(predictor: Predictor, record: Record, chance: random.Random) -> float:
    """Seconds from SIGTERM to the end, at a moment of chance under the same load."""
    requests = honest_requests(predictor)
    ignored = Record()
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), predictor) as served:
        with load(served.port, requests, ignored) as until:
            time.sleep(chance.uniform(0.1, 8))
            served.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            try:
                status = served.process.wait(2 * MAX_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                status = None
            seconds = time.monotonic() - start
            until.set()
        if status != 0 or seconds > MAX_STOP_SECONDS:
            record.faults.append(f"SIGTERM: exit {status} after {seconds:.1f} s")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--stops", type=int, default=5, help="how often SIGTERM is tried")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    spec = make_spec(3).model_copy(
        update={"protocol": EvaluationProtocol(name="windows", window=512, stride=512)}
    )
    predictor = Predictor(Segmenter(spec), runtime="torch", precision="float32")
    record = Record()
    memory = soak(asked.seconds, predictor, record)
    chance = random.Random(asked.seed)
    stops = [stop_under_load(predictor, record, chance) for _ in range(asked.stops)]
    report(asked.seconds, record, memory, stops)
    return 1 if record.faults else 0


def report(seconds: float, record: Record, memory: dict[str, float], stops: list[float]) -> None:
    """Print what was measured, and what is wrong."""
    answered = np.array(record.seconds or [np.nan])
    refused = np.array(record.refusals or [0.0])
    print(f"{seconds:g} s, {HONEST_CLIENTS} honest and {HOSTILE_CLIENTS} hostile clients")
    print(f"honest requests by status: {dict(sorted(record.statuses.items()))}")
    print(
        f"answered in {np.median(answered):.3f} s (median), {np.percentile(answered, 99):.2f} s "
        f"(99 %), {answered.max():.2f} s (slowest); refused in {refused.max():.3f} s (slowest)"
    )
    print(f"attacks: {json.dumps(dict(sorted(record.attacks.items())))}")
    print("memory, MB: " + ", ".join(f"{name} {value:.0f}" for name, value in memory.items()))
    print("seconds from SIGTERM to the end: " + ", ".join(f"{each:.1f}" for each in stops))
    for fault, count in Counter(record.faults).most_common(30):
        print(f"found {count} times: {fault}", file=sys.stderr)
    print(f"{len(record.faults)} faults")


if __name__ == "__main__":
    sys.exit(main())
