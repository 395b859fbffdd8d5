"""Time from a stroke to its proposal on the page of `segmenter label`, and what 500 strokes cost.

    python benchmarks/labelling.py --image examples/street.jpg --json results/labelling.json

For each size, `segmenter label` serves a folder, and a real Chromium paints strokes of six classes
in one image with the mouse. A time begins when the button is released, and ends when the page has
drawn the proposal that was fitted to this stroke. CPU seconds are those of the service for one
stroke. Memory is that of the service, and that of the page's JavaScript without its garbage.

With `--labelled 20`, so many other images have strokes already, which the fit learns from too.
A size that is in the file already is not measured again.

The page runs on the same cores, without a GPU. `load` is the load average when a size begins and
ends. The seconds mean little where it exceeds the number of cores; the CPU seconds still do.
"""

import argparse
import os
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
from statistics import median
from typing import Any

import cv2
import httpx
import numpy as np
from playwright.sync_api import sync_playwright
from results_file import load, save

SIZES = {"0.3": (480, 640), "2": (1224, 1632), "12": (3000, 4000)}
"""Megapixels -> height and width."""
COLUMNS, ROWS = 3, 2
"""Classes are parts of the image, in columns and rows."""
PART = 50
"""Strokes at the beginning and at the end that are compared."""
MEASURE = """() => {
  window.times = [];
  let begin = 0;
  addEventListener("pointerup", () => { begin = performance.now(); }, { capture: true });
  new MutationObserver(() => {
    const isThere = document.getElementById("proposal-status").textContent.endsWith(" ms");
    if (isThere && begin) { times.push(performance.now() - begin); begin = 0; }
  }).observe(document.getElementById("proposal-status"), { childList: true });
}"""
PAN = """async () => {
  const canvas = document.getElementById("canvas"), frames = [];
  let last = 0;
  for (let step = 0; step < 60; step++) {
    const key = step % 20 < 10 ? "ArrowLeft" : "ArrowRight";
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const now = await new Promise(requestAnimationFrame);
    if (last) frames.push(now - last);
    last = now;
  }
  return frames;
}"""


def main() -> None:
    """Measure each size, write the results, print a table."""
    parser = argparse.ArgumentParser(description="Time proposals on the page.")
    parser.add_argument("--image", type=Path, required=True, help="resized to each size")
    parser.add_argument("--strokes", type=int, default=500)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--labelled", type=int, default=0, help="other images that have strokes")
    parser.add_argument("--browser", default=shutil.which("chromium"))
    parser.add_argument("--json", type=Path, default=Path("labelling.json"))
    asked = parser.parse_args()
    rows = load(asked.json, {"sizes": []})["sizes"]
    known = [(row["megapixels"], row["other_labelled_images"]) for row in rows]
    for size in asked.sizes:
        if (float(size), asked.labelled) not in known:
            rows.append(measure(asked, size))
            save(asked.json, {"sizes": rows}, "tokens float16, fit float32")
    print_table(rows)


def measure(asked: argparse.Namespace, size: str) -> dict[str, Any]:
    """Paint strokes in an image of a size."""
    shape = SIZES[size]
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), asked.image, shape, asked.labelled)
        load = [os.getloadavg()[0]]
        with serving(Path(folder)) as (url, pid), sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=asked.browser, args=["--no-sandbox", "--disable-gpu"]
            )
            label_others(url, asked.labelled)
            page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
            page.set_default_timeout(120_000)
            page.goto(f"{url}/#image")
            page.wait_for_selector("#status:has-text('opening')", state="detached")
            page.wait_for_selector("#undo:disabled")
            page.evaluate(MEASURE)
            page.wait_for_timeout(3000)  # the image's tokens are computed once
            found = paint(page, pid, asked.strokes)
            frames = page.evaluate(PAN)
            browser.close()
        load.append(os.getloadavg()[0])
    return {
        "megapixels": float(size),
        "height": shape[0],
        "width": shape[1],
        "strokes": asked.strokes,
        "other_labelled_images": asked.labelled,
        **found,
        "pan_frame_ms": round(median(frames), 1),
        "load": [round(each, 2) for each in load],
    }


def paint(page: Any, pid: int, count: int) -> dict[str, Any]:
    """Paint strokes one after the other, each when the proposal of the one before is there."""
    rng = np.random.default_rng(0)
    box = page.locator("#canvas").bounding_box()
    client = page.context.new_cdp_session(page)
    seconds, memory, begin = [], [], cpu_seconds(pid)
    for number in range(count):
        part = number % (COLUMNS * ROWS)
        page.keyboard.press(str(part + 1))
        column, row = part % COLUMNS, part // COLUMNS
        points = 0.15 + 0.7 * rng.random(2), rng.normal(0, 0.04, 2)
        at = (column + points[0][0]) / COLUMNS, (row + points[0][1]) / ROWS
        first = box["x"] + box["width"] * at[0], box["y"] + box["height"] * at[1]
        last = first[0] + box["width"] * points[1][0], first[1] + box["height"] * points[1][1]
        page.mouse.move(*first)
        page.mouse.down()
        page.mouse.move(*last, steps=6)
        page.mouse.up()
        # The first stroke alone gives no proposal.
        page.wait_for_function(f"times.length >= {number}", polling=20)
        if number + 1 in (PART, count):
            seconds.append(cpu_seconds(pid))
            memory.append((resident_mib(pid), heap_mib(client)))
    times = page.evaluate("times")
    return {
        "median_s": _rounded(np.median(times)),
        "p95_s": _rounded(np.quantile(times, 0.95)),
        "largest_s": _rounded(max(times)),
        "median_s_first_50": _rounded(np.median(times[:PART])),
        "median_s_last_50": _rounded(np.median(times[-PART:])),
        "cpu_s_per_stroke": round((seconds[-1] - begin) / count, 3),
        "service_mib": [each[0] for each in memory],
        "page_mib": [each[1] for each in memory],
    }


def label_others(url: str, count: int) -> None:
    """Paint a stroke of each class in other images, and wait until the fit has learnt from them."""
    height, width = SIZES["0.3"]
    with httpx.Client(base_url=f"{url}/api", timeout=600) as client:
        for number in range(count):
            for part in range(COLUMNS * ROWS):
                row = height * (2 * (part // COLUMNS) + 1) // (2 * ROWS)
                column = width * (part % COLUMNS) // COLUMNS
                runs = [(row + at, column + 10, column + 150) for at in range(20)]
                stroke = {"tool": "brush", "value": part, "runs": list(chain(*runs))}
                change = {"image": f"other-{number}", "version": part, "id": f"{number}-{part}" * 4}
                client.post("stroke", json=change | stroke).raise_for_status()
        if count:
            client.get("proposal", params={"image": "image"}).raise_for_status()


def write_folder(root: Path, image: Path, shape: tuple[int, int], num_others: int) -> None:
    """Write a folder with an image, others beside it, and six classes."""
    pixels = cv2.imread(str(image))
    assert pixels is not None, f"{image} cannot be read"
    (root / "images").mkdir()
    resized = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(root / "images" / "image.jpg"), resized)
    for number in range(num_others):
        rolled = np.roll(cv2.resize(pixels, SIZES["0.3"][::-1]), 31 * number, axis=1)
        cv2.imwrite(str(root / "images" / f"other-{number}.jpg"), rolled)
    lines = [
        f"  - {{name: part {index + 1}, color: [{40 * index}, {255 - 40 * index}, 90], "
        f"values: [{index}]}}\n"
        for index in range(COLUMNS * ROWS)
    ]
    (root / "classes.yaml").write_text("classes:\n" + "".join(lines) + "ignore: [255]\n")


@contextmanager
def serving(root: Path) -> Iterator[tuple[str, int]]:
    """Run `segmenter label`; gives the page's address and the number of the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "segmenter", "label", str(root), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError("the service ended before it answered")
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/api/folder").is_success:
                    break
            time.sleep(0.2)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> int:
    """Memory of a process."""
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) // 1024


def heap_mib(client: Any) -> int:
    """Memory of the page's JavaScript, arrays of pixels included."""
    client.send("HeapProfiler.collectGarbage")
    found = client.send("Runtime.getHeapUsage")
    return round((found["usedSize"] + found.get("backingStorageSize", 0)) / 2**20)


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print a row for each size."""
    print("| megapixels | median | 95th % | first 50 | last 50 | CPU a stroke | service | page |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        times = (row[key] for key in ("median_s", "p95_s", "median_s_first_50", "median_s_last_50"))
        service, page = (" to ".join(map(str, row[key])) for key in ("service_mib", "page_mib"))
        print(
            f"| {row['megapixels']:g} | "
            + " | ".join(f"{each:.2f} s" for each in times)
            + f" | {row['cpu_s_per_stroke']:.2f} s | {service} MiB | {page} MiB |"
        )


def _rounded(seconds: float) -> float:
    return round(float(seconds) / 1000, 3)


if __name__ == "__main__":
    main()
