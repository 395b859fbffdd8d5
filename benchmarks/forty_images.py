"""The clock from 40 unlabelled images to a served model: seconds of the computer, step by step.

    python benchmarks/forty_images.py data/camvid --json results/forty-images.json

A robot takes the place of the person at the page of `segmenter label`. It sends strokes to the
service, each in the largest region that is wrong, waits for the proposal after each, accepts it,
and marks the image as done. All other steps are commands.

`seconds` pass on the clock, and `cpu_seconds` are those of all processes of a step: where the
machine has other work, the first are more than the step needs. `person_minutes` are no measurement:
they assume 4 seconds for a stroke, and those of ASSUMED for the rest.
"""

import argparse
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from results_file import save
from robot_annotator import Labels, largest_wrong, stroke_in

from segmenter.data.folder import Item, LabelledFolder, open_folder, read_labels
from segmenter.extras.labelling.layers import NOTHING
from segmenter.extras.labelling.runs import runs_of

STROKE_SECONDS = 4
ASSUMED = {"classes": 1.0, "doubts": 2.0}
"""Minutes of a person to name the classes, and to look at doubtful labels."""
SEGMENTER = [sys.executable, "-m", "segmenter"]

Step = dict[str, Any]


def main() -> None:
    """Take all steps, write the clock, print it."""
    parser = argparse.ArgumentParser(description="Measure the way from images to a served model.")
    parser.add_argument("data", type=Path, help="images, and the true masks that the robot paints")
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=40, help="evenly spaced in the split")
    parser.add_argument("--labelled", type=int, default=3, help="images in each round of two")
    parser.add_argument("--strokes", type=int, default=10, help="in each labelled image")
    parser.add_argument("--json", type=Path, default=Path("forty-images.json"))
    asked = parser.parse_args()
    data = open_folder(asked.data)
    items = data.items(asked.split)
    chosen = [items[place * len(items) // asked.images] for place in range(asked.images)]
    with tempfile.TemporaryDirectory() as folder:
        steps = take_steps(asked, data, {item.image.stem: item for item in chosen}, Path(folder))
    keys = ("seconds", "cpu_seconds", "person_minutes")
    results = {"images": asked.images, "labelled": 2 * asked.labelled, "strokes": asked.strokes}
    results |= {"steps": steps, "total": {key: sum(step[key] for step in steps) for key in keys}}
    save(asked.json, results | {"load": os.getloadavg()[0]}, "tokens float16, fit float32")
    print(results["total"])


def take_steps(
    asked: argparse.Namespace, data: LabelledFolder, items: dict[str, Item], folder: Path
) -> list[Step]:
    """Go from images to a service; return what each step took."""
    root, model, order = folder / "mine", folder / "mine.safetensors", folder / "next.json"
    (root / "images").mkdir(parents=True)
    for name, item in items.items():
        shutil.copyfile(item.image, root / "images" / f"{name}{item.image.suffix}")
    (root / "classes.yaml").write_text(data.classes.to_yaml())
    first = list(items)[:: len(items) // asked.labelled][: asked.labelled]
    steps: list[Step] = []

    @contextmanager
    def step(name: str, person_minutes: float = 0.0) -> Iterator[None]:
        begin, cpu = time.perf_counter(), cpu_of_children()
        yield
        seconds, cpu_seconds = time.perf_counter() - begin, cpu_of_children() - cpu
        found = {"name": name, "seconds": seconds, "cpu_seconds": cpu_seconds}
        steps.append(found | {"person_minutes": person_minutes})
        print(steps[-1], flush=True)

    strokes = asked.labelled * asked.strokes * STROKE_SECONDS / 60
    with step("name the classes, `label` the first images", ASSUMED["classes"] + strokes):
        label_images(root, first, items, data, asked.strokes)
    with step("`fit`"):
        run("fit", str(root), "--out", str(model))
    with step("`suggest`"):
        run("suggest", str(root), "--model", str(model), "--json", str(order))
    suggested = [each["image"] for each in json.loads(order.read_text())["images"]]
    with step("`label` the suggested images", strokes):
        label_images(root, suggested[: asked.labelled], items, data, asked.strokes)
    with step("`check --doubts`", ASSUMED["doubts"]):
        run("check", str(root), "--doubts")
    with step("`fit` again"):
        run("fit", str(root), "--out", str(model), "--overwrite")
    with step("`predict` all images"):
        images = str(root / "images")
        run("predict", images, "--model", str(model), "--out", str(folder / "out"))
    with (
        step("`serve`, until the first answer"),
        service("serve", str(model), "/v2/health/ready") as client,
    ):
        content = next((root / "images").iterdir()).read_bytes()
        headers = {"content-type": "image/jpeg", "accept": "application/json"}
        client.post("/segment", content=content, headers=headers).raise_for_status()
    return steps


def cpu_of_children() -> float:
    """CPU time of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*arguments: str) -> None:
    """Run a command."""
    done = subprocess.run([*SEGMENTER, *arguments], capture_output=True, text=True, check=False)
    # `check` ends with 1 where it finds something.
    if done.returncode not in (0, 1 if arguments[0] == "check" else 0):
        raise RuntimeError(done.stderr)


def label_images(
    root: Path, names: Sequence[str], items: dict[str, Item], data: LabelledFolder, strokes: int
) -> None:
    """Label images through the service of the page."""
    with service("label", str(root), "/api/folder") as client:
        for each in names:
            truth = read_labels(items[each], data.classes).astype(np.uint8)
            label_image(client, each, truth, strokes)


def label_image(client: httpx.Client, name: str, truth: Labels, strokes: int) -> None:
    """Paint, accept, mark as done."""
    painted, labels = np.full_like(truth, NOTHING), np.full_like(truth, NOTHING)
    number = ""
    for version in range(strokes):
        region = largest_wrong(labels, truth)
        pixels = stroke_in(region.inside).pixels
        painted[pixels] = region.value
        runs = list(chain(*runs_of(pixels).tolist()))
        stroke = {"tool": "brush", "value": region.value, "runs": runs}
        _post(client, "stroke", name, version, **stroke)
        answer = client.get("/api/proposal", params={"image": name})
        labels = painted.copy()
        if answer.is_success:  # one class alone gives no proposal
            number = answer.headers["x-proposal"]
            proposed = np.frombuffer(answer.content, np.uint8).reshape(truth.shape)
            labels = np.where(painted == NOTHING, proposed, painted).astype(np.uint8)
    _post(client, "accept", name, strokes, proposal=int(number))
    _post(client, "mark", name, strokes + 1, done=True)


def _post(client: httpx.Client, path: str, name: str, version: int, **fields: Any) -> None:
    change = {"image": name, "version": version, "id": f"{name}-{version:04}"}
    client.post(f"/api/{path}", json=change | fields).raise_for_status()


@contextmanager
def service(command: str, argument: str, path: str) -> Iterator[httpx.Client]:
    """Run a service until the block ends; waits until a path is answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [*SEGMENTER, command, argument, "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
            while process.poll() is None:
                with suppress(httpx.TransportError):
                    if client.get(path).is_success:
                        break
                time.sleep(0.1)
            else:
                raise RuntimeError(f"{command} ended before it answered")
            yield client
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
