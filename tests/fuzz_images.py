"""Mutated image files against the decoder, for as long as is asked: no crash, and only UserError.

    python -m tests.fuzz_images --seconds 600

A process with the memory of the service's own decodes; where it dies, hangs or raises anything
else, the file is kept in `build/fuzz`, and the exit status is 1.
"""

import argparse
import multiprocessing
import signal
import struct
import sys
import time
import zlib
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from segmenter.data.decode import decode_image
from segmenter.errors import UserError
from segmenter.serving.decoding import limit_process
from segmenter.serving.settings import ServiceSettings
from tests.serving.odd_images import ODD_IMAGES

KEPT = Path("build/fuzz")
SEEDS = [each.data for each in ODD_IMAGES if len(each.data) < 20_000]
ROUND = 500  # inputs between two looks at the clock
MAX_SECONDS = 10  # for one input
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NUMBERS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0"]

_place = st.floats(0, 0.999)
_mutation = st.one_of(
    st.tuples(st.just("change"), _place, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("change"), _place, st.sampled_from(_NUMBERS)),
    st.tuples(st.just("insert"), _place, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("remove"), _place, st.integers(1, 64)),
    st.tuples(st.just("repeat"), _place, st.integers(1, 256)),
    st.tuples(st.just("splice"), _place, st.sampled_from(SEEDS)),
)


def mutated(data: bytes, mutations: list[tuple[str, float, bytes | int]]) -> bytes:
    """A file after changes, each at a place from 0 (its start) to 1."""
    for kind, place, what in mutations:
        at = int(place * len(data))
        if isinstance(what, int):
            put, after = (data[at : at + what] * 2 if kind == "repeat" else b""), at + what
        elif kind == "splice":
            put, after = what[int(place * len(what)) :], len(data)
        else:
            put, after = what, at + (len(what) if kind == "change" else 0)
        data = data[:at] + put + data[after:]
    return data


def resealed(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that what lies behind them is reached."""
    if not data.startswith(_PNG_SIGNATURE):
        return data
    parts, at = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        content = data[at + 4 : at + 8 + length]
        parts += [data[at : at + 4], content, struct.pack(">I", zlib.crc32(content))]
        at += 12 + length
    return b"".join(parts)


def decode_many(number: int, until: float, count: "Synchronized[int]", current: Path) -> None:
    """Decode mutated files, noting each before it is tried."""
    bounds = ServiceSettings()
    limit_process(bounds.decode_memory)

    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        data=st.sampled_from(SEEDS),
        mutations=st.lists(_mutation, min_size=1, max_size=6),
        is_sealed=st.booleans(),
    )
    def decode(
        data: bytes, mutations: list[tuple[str, float, bytes | int]], is_sealed: bool
    ) -> None:
        data = mutated(data, mutations)
        data = resealed(data) if is_sealed else data
        current.write_bytes(data)
        count.value += 1
        signal.alarm(MAX_SECONDS)
        with suppress(UserError):
            image = decode_image(data, limits=bounds.image_limits)
            assert image.ndim == 3
        signal.alarm(0)

    while time.time() < until:
        seed(number)(decode)()
        number += 1


def main() -> int:
    """Decode until the time is over; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    current = KEPT / "current"
    context = multiprocessing.get_context("spawn")
    count = context.Value("q", 0)
    until, number, findings = time.time() + asked.seconds, asked.seed, 0
    while time.time() < until:
        arguments = (number, until, count, current)
        process = context.Process(target=decode_many, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            findings += 1
            kept = current.rename(KEPT / f"{time.time_ns()}-exit-{process.exitcode}")
            print(f"found: {kept}", file=sys.stderr)
        number += 1_000_000
    print(f"{count.value} files decoded, {findings} findings")
    current.unlink(missing_ok=True)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
