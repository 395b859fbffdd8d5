"""Mutated image files against the decoder, for as long as is asked: no crash, and only UserError.

    python -m tests.fuzz_images --seconds 600

A process with the memory of the service's own decodes; where it dies, hangs or raises anything
else, the file is kept in `build/fuzz`, and the exit status is 1.
"""

import signal
import struct
import sys
import zlib
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from segmenter.data.decoding.decode import decode_image
from segmenter.errors import UserError
from segmenter.extras.serving.decode_process import limit_process
from segmenter.extras.serving.service_settings import ServiceSettings
from tests.helpers.fuzzing import KEPT, asked, fuzz_in_processes, fuzz_settings, try_until
from tests.helpers.mutations import Mutation, mutated, mutations
from tests.helpers.odd_images import ODD_IMAGES
from tests.helpers.paths import GOLDEN

SEEDS = [
    *(each.data for each in ODD_IMAGES if len(each.data) < 20_000),
    *(path.read_bytes() for path in sorted((GOLDEN / "ome").glob("*.tif"))),
]
ROUND = 500  # inputs between two looks at the clock
MAX_SECONDS = 60  # for one input
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MUTATIONS = mutations(SEEDS, st.floats(0, 0.999))


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


def decode_many(
    number: int, until: float, tried: Synchronized, answered: Synchronized, current: Path
) -> None:
    """Decode mutated files, writing each down before it is tried."""
    bounds = ServiceSettings()
    limit_process(bounds.decode_memory)

    @fuzz_settings(ROUND)
    @given(
        data=st.sampled_from(SEEDS),
        changes=_MUTATIONS,
        is_sealed=st.booleans(),
    )
    def decode(data: bytes, changes: list[Mutation], is_sealed: bool) -> None:
        data = mutated(data, changes)
        data = resealed(data) if is_sealed else data
        (current / "image").write_bytes(data)
        tried.value += 1
        signal.alarm(MAX_SECONDS)
        with suppress(UserError):
            image = decode_image(data, limits=bounds.image_limits)
            assert image.ndim == 3
            answered.value += 1
        signal.alarm(0)

    try_until(until, number, decode)


def main() -> int:
    """Decode until the time is over; 1 where something was found."""
    seconds, number = asked(__doc__, 60)
    tried, answered, findings = fuzz_in_processes(decode_many, seconds, number, KEPT / "image")
    print(f"{tried} files decoded, {answered} of them images, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
