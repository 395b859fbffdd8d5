"""Mutated exports of annotation tools: a data set or one line, nothing beside, and no crash.

    python -m tests.fuzz_annotations --seconds 600

In each round one file of a small export has its bytes changed anywhere, or one value of its JSON is
another; the archive of the export is changed too. Where the process dies, hangs, raises anything
but a `UserError`, or leaves a file, the export is kept in `build/fuzz`, and the exit status is 1.
"""

import json
import logging
import resource
import shutil
import signal
import sys
import time
import zipfile
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmenter.classes import read_classes
from segmenter.data.annotations.convert_export import convert_annotations
from segmenter.errors import UserError
from tests.helpers.annotation_exports import WRITERS, LabelledImage
from tests.helpers.fuzzing import KEPT, asked, fuzz_in_processes, fuzz_settings, try_until
from tests.helpers.models import make_classes
from tests.helpers.mutations import Mutation, change_leaf, mutated, mutations

SEEDS = KEPT / "annotations-seeds"
ROUND = 50
MAX_SECONDS = 60
MAX_MEMORY = 8 << 30
ODD: list[Any] = [
    *(float("nan"), float("inf"), 1e300, 0, 1, -1, 64, 1 << 16, 1 << 31, 1 << 63, 10**30),
    *("", "x", "..", "../a.png", "\u202e\n", None, True, [], {}, [0], [1.0] * 20_000, [[[[]]]]),
]


def make_seeds() -> None:
    """Write two small images in each format, and each export as a zip."""
    random = np.random.default_rng(0)
    images = [
        LabelledImage(f"{name}.png", random.integers(0, 3, (12, 17)).astype(np.uint8))
        for name in "ab"
    ]
    shutil.rmtree(SEEDS, ignore_errors=True)
    for written, (_, write) in WRITERS.items():
        folder = SEEDS / written / "x"
        folder.mkdir(parents=True)
        write(folder, images, make_classes(3))
        with zipfile.ZipFile(SEEDS / written / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*.*")):
                archive.write(path, path.relative_to(folder).as_posix())


def convert(current: Path, name: str, source: Path, unlabelled: Any) -> bool:
    """Convert; whether a data set was made, which is whole."""
    before = sorted(path.name for path in current.iterdir())
    out = current / "out"
    with suppress(UserError):
        made = convert_annotations(name, source, out, unlabelled=unlabelled)
        assert len(read_classes(out / "classes.yaml")) == len(made.classes)
        num_masks = len(list((out / "masks").rglob("*.png")))
        assert num_masks == made.splits.total() == len(list((out / "images").rglob("*.*")))
        shutil.rmtree(out)
    is_made = "made" in locals()
    assert sorted(path.name for path in current.iterdir()) == before, "something is left"
    return is_made


def convert_many(
    number: int, until: float, tried: Synchronized, answered: Synchronized, current: Path
) -> None:
    """Convert mutated exports, each written to `current` first."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    files = {
        written: [
            path
            for path in sorted((SEEDS / written).rglob("*.*"))
            if path.is_file() and path.name not in {"a.jpg"}
        ]
        for written in WRITERS
    }
    contents = [path.read_bytes()[:4096] for paths in files.values() for path in paths]

    @fuzz_settings(ROUND)
    @given(
        written=st.sampled_from(list(WRITERS)),
        which=st.floats(0, 0.999),
        changes=mutations(contents, st.floats(0, 0.999)),
        is_leaf=st.booleans(),
        place=st.floats(0, 0.999),
        value=st.sampled_from(ODD),
        unlabelled=st.sampled_from([None, "background", "ignore"]),
    )
    def convert_one(
        written: str,
        which: float,
        changes: list[Mutation],
        is_leaf: bool,
        place: float,
        value: Any,
        unlabelled: Any,
    ) -> None:
        if time.time() > until:
            return
        path = files[written][int(which * len(files[written]))]
        content = path.read_bytes()
        if is_leaf and path.suffix == ".json":
            content = json.dumps(change_leaf(json.loads(content), place, value)).encode()
        else:
            content = mutated(content, changes)
        shutil.rmtree(current)
        shutil.copytree(SEEDS / written, current)
        (current / path.relative_to(SEEDS / written)).write_bytes(content)
        tried.value += 1
        signal.alarm(MAX_SECONDS)
        source = current / ("x.zip" if path.suffix == ".zip" else "x")
        answered.value += convert(current, WRITERS[written][0], source, unlabelled)
        signal.alarm(0)

    try_until(until, number, convert_one)


def main() -> int:
    """Convert exports until the time is over; 1 where something was found."""
    seconds, number = asked(__doc__, 60)
    make_seeds()
    tried, answered, findings = fuzz_in_processes(
        convert_many, seconds, number, KEPT / "annotations"
    )
    print(f"{tried} exports converted, {answered} made a data set, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
