"""How many images a second the service answers under load, beside the model alone: one table.

    python benchmarks/serving.py street --size 644 --rounds 5

The model alone: a decoded image to its labels, one after the other, in this process. The service is
`segmenter serve`, started anew with the same model, runtime and precision, and asked by 16 clients
at once, each with its own connection, for label PNGs of JPEGs of that size. Both see images as the
model's protocol says; at a size that it leaves as it is, such as 644 for `street`, the model alone
is what `segmenter benchmark` measures.

Rounds of the two alternate; the table holds medians, and the median of each round's ratio. CPU
seconds, of a process and all it started, are hardly touched by what else is running.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import numpy as np

from segmenter import Predictor
from segmenter.drawing import encode_jpeg

KIND = {"content-type": "image/jpeg"}


def main() -> None:
    """Run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="street")
    parser.add_argument("--size", type=int, default=644, help="height and width of the images")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=64, help="in each round")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", default="auto")
    asked = parser.parse_args()
    chosen = {"runtime": asked.runtime, "precision": asked.precision}
    predictor = Predictor(asked.model, **chosen)
    images = [make_image(asked.size, seed) for seed in range(asked.images)]
    bodies = [encode_jpeg(image) for image in images]
    alone, served = Side(os.getpid()), Side(0)
    with serving(asked.model, asked.runtime, asked.precision) as (url, served.pid):
        limits = httpx.Limits(max_connections=asked.clients)
        with httpx.Client(base_url=url, timeout=120, limits=limits) as client:
            predictor(images[0])
            label_over_http(client, bodies[: asked.clients], asked.clients)
            for _ in range(asked.rounds):
                alone.measure(len(images), lambda: [predictor(image) for image in images])
                served.measure(len(images), lambda: label_over_http(client, bodies, asked.clients))
            batch = mean_batch(client.get("/metrics").text)
    ratio = median(each / base for each, base in zip(served.rates, alone.rates, strict=True))
    print(f"{asked.model}, {asked.size} x {asked.size}, {asked.rounds} rounds of {asked.images}")
    print("| | images/s | CPU seconds an image |", "|---|---|---|", sep="\n")
    print(f"| the model alone | {alone.row()} |")
    print(f"| the service, {asked.clients} clients, batches of {batch:.1f} | {served.row()} |")
    print(f"| ratio | {ratio:.2f} | {median(served.costs) / median(alone.costs):.2f} |")


@dataclass
class Side:
    """What was measured of a process, round by round."""

    pid: int
    rates: list[float] = field(default_factory=list)
    """Images a second."""
    costs: list[float] = field(default_factory=list)
    """CPU seconds an image."""

    def measure(self, num_images: int, work: Callable[[], object]) -> None:
        """Do one round."""
        start, cost = time.perf_counter(), cpu_seconds(self.pid)
        work()
        self.rates.append(num_images / (time.perf_counter() - start))
        self.costs.append((cpu_seconds(self.pid) - cost) / num_images)

    def row(self) -> str:
        """Its medians."""
        return f"{median(self.rates):.2f} | {median(self.costs):.3f}"


def cpu_seconds(pid: int) -> float:
    """Of a process and, but for the benchmark's own, of those it started (Linux)."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
    if pid == os.getpid():
        return seconds
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return seconds + sum(cpu_seconds(int(child)) for child in children)


def make_image(side: int, seed: int) -> np.ndarray:
    """Coarse noise, as `segmenter benchmark` takes."""
    cells = side // 16 + 1
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[:side, :side].copy()


def label_over_http(client: httpx.Client, bodies: list[bytes], clients: int) -> None:
    """Have all images labelled by several clients at once."""

    def post(body: bytes) -> None:
        client.post("/segment", content=body, headers=KIND).raise_for_status()

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(post, bodies))


@contextmanager
def serving(model: str, runtime: str, precision: str) -> Iterator[tuple[str, int]]:
    """Run the service in a process of its own; gives its URL and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--runtime", runtime, "--precision", precision]
    command = [sys.executable, "-m", "segmenter", "serve", model, *options]
    environment = {key: value for key, value in os.environ.items() if key != "SEGMENTER_TOKEN"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/v2/health/ready").is_success:
                    break
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def mean_batch(metrics: str) -> float:
    """Images that went through the model together, on average."""
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    name = "segmenter_batch_size"
    return float(values[f"{name}_sum"]) / float(values[f"{name}_count"])


if __name__ == "__main__":
    main()
