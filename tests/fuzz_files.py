"""Mutated model files, exports and cache entries: an answer or one line, and no crash.

    python -m tests.fuzz_files --seconds 600

Bytes are changed anywhere; or the description alone is, and the digests are made anew, so that what
lies behind them is reached. Each file is opened and labels a small image in a process of bounded
memory and time; where that dies, hangs or raises anything but a `UserError`, the files are kept in
`build/fuzz`, and the exit status is 1.
"""

import json
import logging
import os
import resource
import shutil
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import given
from hypothesis import strategies as st

from segmenter import Predictor, UserError, load, save
from segmenter.checkpoints import model_file as own
from segmenter.extras.export.write import openvino_files
from segmenter.files.cache import cached, entry_path
from segmenter.model import Segmenter
from segmenter.runtimes.exported import ExportFacts, add_facts
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.onnxruntime import onnx_session
from tests.helpers.fuzzing import KEPT, asked, fuzz_in_processes, fuzz_settings, try_until
from tests.helpers.models import make_spec
from tests.helpers.mutations import Mutation, change_leaf, mutated, mutations
from tests.helpers.relabel import read_header, write_header

SEEDS = KEPT / "seeds"
ROUND = 50  # files between two looks at the clock
MAX_CPU_SECONDS = 20  # for one file
MAX_SECONDS = 300
MAX_MEMORY = 12 << 30  # of addresses; the libraries take half of it
KINDS = ("model.safetensors", "model.onnx", "model.xml", "model.bin", "cache")
ODD: list[Any] = [
    *(float("nan"), float("inf"), 1e300, 1e-300, 0, 1, -1, 64, 1 << 16, 1 << 31, 1 << 63, 10**30),
    *("", "x", "\u202e\n", None, True, [], {}, [0], [1.0] * 20_000, [[[[]]]], {"a": {}}),
]
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
_HEAD = st.floats(0, 0.05)
_PLACES = st.one_of(st.floats(0, 0.999), _HEAD)


def make_seeds() -> None:
    """Write a model, and its exports, as the package does."""
    torch.manual_seed(0)
    model = Segmenter(make_spec(depth=1, decoder="mask")).eval()
    facts = ExportFacts(spec=model.spec)
    graph = add_facts(to_onnx(model), facts)
    weights, topology = openvino_files(graph, facts)
    shutil.rmtree(SEEDS, ignore_errors=True)
    SEEDS.mkdir(parents=True)
    save(model, SEEDS / "model.safetensors", dtype="float16")
    for name, content in (("onnx", graph), ("xml", topology), ("bin", weights)):
        (SEEDS / f"model.{name}").write_bytes(content)


def redescribed(name: str, place: float, value: Any, *, is_layout: bool) -> bytes:
    """A seed whose description is changed, with digests that are right again."""
    path, aside = SEEDS / name, KEPT / "header"
    if name == "model.safetensors":
        header, data = read_header(path)
        if is_layout:
            return write_header(
                KEPT / "header", change_leaf(header, place, value), data
            ).read_bytes()
        facts = json.loads(header["__metadata__"]["segmenter"])
        facts["spec"] = change_leaf(facts["spec"], place, value)
        facts = own.seal(facts["spec"], own.read_tensors(path)[0])
        header["__metadata__"]["segmenter"] = json.dumps(facts)
        return write_header(aside, header, data).read_bytes()
    if name == "model.xml":
        facts = ExportFacts(spec=own.read_spec(SEEDS / "model.safetensors")).model_dump_json()
        changed = json.dumps(change_leaf(json.loads(facts), place, value))
        plain, escaped = (each.replace('"', "&quot;").encode() for each in (facts, changed))
        return path.read_bytes().replace(plain, escaped)
    model = onnx.load_model_from_string(path.read_bytes())
    if is_layout:
        change_graph(model, place, value)
        return model.SerializeToString()
    (facts,) = model.metadata_props
    facts.value = json.dumps(change_leaf(json.loads(facts.value), place, value))
    return model.SerializeToString()


def change_graph(model: onnx.ModelProto, place: float, value: Any) -> None:
    """Make something of a graph another thing: a node's operator or number, a tensor's shape."""
    at = int(place * 997)
    nodes, tensors = model.graph.node, model.graph.initializer
    node, tensor = nodes[at % len(nodes)], tensors[at % len(tensors)]
    number = value if type(value) is int and abs(value) < 1 << 63 else at
    match at % 5:
        case 0:
            node.op_type = nodes[(7 * at) % len(nodes)].op_type
        case 1 if node.attribute:
            node.attribute[at % len(node.attribute)].i = number
        case 2 if tensor.dims:
            tensor.dims[at % len(tensor.dims)] = number
        case 3 if node.input:
            node.input[at % len(node.input)] = nodes[(3 * at) % len(nodes)].output[0]
        case _:
            del nodes[at % len(nodes)]


def open_files(folder: Path, name: str) -> None:
    """Open what lies in a folder, and label an image with it."""
    if name == "cache":
        open_entry((folder / name).read_bytes())
    elif name == "model.safetensors":
        Predictor(load(folder / name))(IMAGE)
    elif name == "model.onnx":
        Predictor(folder / name, runtime="onnxruntime")(IMAGE)
        Predictor(folder / name, runtime="openvino")(IMAGE)
    else:
        Predictor(folder / "model.xml")(IMAGE)


def open_entry(content: bytes) -> None:
    """Find a damaged entry in the cache, and a whole one that holds no graph of ours."""
    graph = (SEEDS / "model.onnx").read_bytes()
    facts = ExportFacts(spec=own.read_spec(SEEDS / "model.safetensors"))
    pixels = np.zeros((1, 3, 16, 16), dtype=np.float32)

    def opened() -> tuple[int, ...]:
        run = cached(
            "fuzz", lambda: graph, lambda kept: onnx_session(kept, torch.device("cpu"), facts)
        )
        return run(pixels).shape

    cached("fuzz", lambda: graph, bytes)
    entry_path("fuzz").write_bytes(
        mutated(entry_path("fuzz").read_bytes(), [("splice", 0.0, content)])
    )
    assert opened() == (1, 3, 1, 1)
    entry_path("fuzz").unlink()
    cached("fuzz", lambda: content, bytes)
    assert opened() == (1, 3, 1, 1)
    entry_path("fuzz").unlink()


def open_many(
    number: int, until: float, tried: Synchronized, answered: Synchronized, current: Path
) -> None:
    """Open mutated files, each written to `current` before it is opened."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["XDG_CACHE_HOME"] = str(KEPT.absolute() / "xdg")
    logging.disable()
    torch.set_num_threads(1)
    contents = {name: (SEEDS / name.replace("cache", "model.onnx")).read_bytes() for name in KINDS}

    @fuzz_settings(ROUND)
    @given(
        name=st.sampled_from(KINDS),
        changes=mutations(list(contents.values()), _PLACES),
        how=st.sampled_from(["bytes", "description", "layout"]),
        place=st.floats(0, 0.999),
        value=st.one_of(st.sampled_from([*ODD, "gone"])),
    )
    def open_one(name: str, changes: list[Mutation], how: str, place: float, value: Any) -> None:
        if time.time() > until:
            return
        if how == "bytes" or name == "model.bin":
            content = mutated(contents[name], changes)
        else:
            seed_name = name.replace("cache", "model.onnx")
            content = redescribed(seed_name, place, value, is_layout=how == "layout")
        for kind in KINDS[:-1]:
            (current / kind).write_bytes(contents[kind])
        (current / name).write_bytes(content)
        (current / "opened").write_text(name)
        tried.value += 1
        signal.alarm(MAX_SECONDS)
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_SECONDS)
        with suppress(UserError):
            open_files(current, name)
            answered.value += 1
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)

    try_until(until, number, open_one)


def main() -> int:
    """Open files until the time is over; 1 where something was found."""
    seconds, number = asked(__doc__, 30)
    make_seeds()
    tried, answered, findings = fuzz_in_processes(open_many, seconds, number, KEPT / "files")
    print(f"{tried} files opened, {answered} answered, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
