"""How fast an image becomes a label map, beside PaddleSeg and MMSegmentation: Markdown tables.

    python benchmarks/peers.py [--models vit-s-mask ...] [--rounds 9] [--cache FOLDER]

All do the same work: from an image of 512 x 512, an array of uint8, to the class of each pixel, one
of 150; ViT-S/16 or ViT-B/16 with a linear or mask decoder, the image seen whole. PaddleSeg and
MMSegmentation draw random weights; ours takes over PaddleSeg's. A last table compares the label
maps of the two with ours from the same weights.

PaddleSeg and MMSegmentation get an environment each, made once in the cache folder (1.5 GB each,
from PyPI). Each side is a process that lives through all rounds and waits for its turn, so that
only one computes at a time, each with the same number of threads. Ratios are medians over the
rounds; in each, all sides are timed one after the other. CPU seconds, which count both cores, are
hardly touched by what else is running.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from environments import CACHE, peer_python
from peer_process import MODELS, WEIGHTS, make_image

OURS = ("openvino:bfloat16", "openvino:float32", "torch:float32")
SIDES = (*WEIGHTS, *OURS)
SETTLE_SECONDS = 0.5
"""After a turn: OpenMP's threads spin for 0.2 s before they sleep."""
Times = dict[str, list[dict[str, float]]]
"""Of each side in each round: `wall` and `cpu` seconds."""
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def main() -> None:
    """Make environments, run the rounds of each model, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cache", type=Path, default=CACHE)
    given = parser.parse_args()
    pythons = dict.fromkeys(SIDES, Path(sys.executable))
    for side in WEIGHTS:
        pythons[side] = peer_python(side, given.cache)
    times, agreements = {}, {}
    for model in given.models:
        folder = given.cache / "peers" / model
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as processes:
            waiting = {
                side: processes.enter_context(started(pythons[side], side, model, folder, given))
                for side in SIDES
            }
            times[model] = timed(waiting, given.rounds)
        agreements[model] = {side: agreement(folder, side) for side in WEIGHTS}
        print(f"{model}: done", file=sys.stderr, flush=True)
    print(f"{processor()}; {given.threads} threads, {given.rounds} rounds.\n")
    print_seconds(times, "wall")
    print_seconds(times, "cpu")
    print_ratios(times)
    print_agreements(agreements)


@contextlib.contextmanager
def started(
    python: Path, side: str, model: str, folder: Path, given: argparse.Namespace
) -> Iterator[subprocess.Popen]:
    """A process of one side that is ready, and ends with the block."""
    script = Path(__file__).with_name("peer_process.py")
    environment = os.environ | {
        "OMP_NUM_THREADS": str(given.threads),
        "XDG_CACHE_HOME": str(given.cache / "peers"),  # what ours compiles of random weights
    }
    with (folder / f"{side}.log").open("w") as log:
        process = subprocess.Popen(
            [str(python), str(script), side, model, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        )
    try:
        if answer(process) != "ready":
            sys.exit(f"{side} cannot run {model}, see {log.name}")
        yield process
    finally:
        process.communicate()


def answer(process: subprocess.Popen) -> str:
    """The next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def timed(waiting: dict[str, subprocess.Popen], num_rounds: int) -> Times:
    """Seconds of each side in each round; every round starts with another side."""
    seconds: Times = {side: [] for side in waiting}
    order = list(waiting)
    for number in range(num_rounds):
        first = number % len(order)
        for side in order[first:] + order[:first]:
            process = waiting[side]
            assert process.stdin is not None
            time.sleep(SETTLE_SECONDS)
            process.stdin.write("go\n")
            process.stdin.flush()
            seconds[side].append(json.loads(answer(process)))
    return seconds


def agreement(folder: Path, side: str) -> float:
    """Share of pixels where another code base and ours, with its weights, choose the same class."""
    from segmenter.checkpoints import load
    from segmenter.inference import Predictor

    predictor = Predictor(load(folder / WEIGHTS[side]), precision="float32")
    return float((predictor(make_image()) == np.load(folder / f"{side}.npy")).mean())


def processor() -> str:
    """The processor's name, cores, and the arithmetic that counts here."""
    info = Path("/proc/cpuinfo")
    facts = dict(
        (part.strip() for part in line.split(":", 1))
        for line in (info.read_text().splitlines() if info.is_file() else ())
        if ":" in line
    )
    name = facts.get("model name", platform.processor())
    flags = [flag for flag in _CPU_FLAGS if flag in facts.get("flags", "").split()]
    return f"{name} with {', '.join(flags) or 'unknown arithmetic'}, {os.cpu_count()} cores"


def print_seconds(times: dict[str, Times], clock: str) -> None:
    """Median seconds of each side."""
    rows = [
        [model, *(f"{median(each[clock] for each in of[side]):.3f}" for side in SIDES)]
        for model, of in times.items()
    ]
    print_table([f"{clock} seconds", *SIDES], rows)


def print_ratios(times: dict[str, Times]) -> None:
    """How many times as fast ours is by the wall clock, median over the rounds."""
    pairs = [(ours, peer) for peer in WEIGHTS for ours in OURS]
    rows = [
        [model, *(f"{ratio(of[peer], of[ours]):.1f}" for ours, peer in pairs)]
        for model, of in times.items()
    ]
    print_table(["times as fast", *(f"{ours} / {peer}" for ours, peer in pairs)], rows)


def ratio(slower: list[dict[str, float]], faster: list[dict[str, float]]) -> float:
    """Of wall seconds in the same round, the median."""
    return median(a["wall"] / b["wall"] for a, b in zip(slower, faster, strict=True))


def print_agreements(agreements: dict[str, dict[str, float]]) -> None:
    """How many pixels are the same as ours in torch float32."""
    rows = [
        [model, *(f"{100 * share:.3f} %" for share in of.values())]
        for model, of in agreements.items()
    ]
    print_table(["same label as ours, float32", *WEIGHTS], rows)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table and an empty line."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")
    print()


if __name__ == "__main__":
    main()
