"""ONNX Runtime for browsers: which version, which of its files, and how they are read safely.

It is not in this package, which would double in size; `npm pack` gets it.
"""

import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

from segmenter.errors import UserError

VERSION = "1.30.0"
_HOW_TO_GET_IT = (
    f"run `npm pack onnxruntime-web@{VERSION}` and give --onnxruntime-web "
    f"onnxruntime-web-{VERSION}.tgz"
)
_MAX_BYTES, _MAX_FILE_BYTES = 512 << 20, 64 << 20
"""Limits of all unpacked files together, and of one that the page needs."""


class _File(NamedTuple):
    source: str
    """Name in the package."""
    sha256: str


# The scripts are named .js, since not every web server knows what .mjs is.
_FILES = {
    "onnxruntime-wasm.js": _File(
        "package/dist/ort.wasm.bundle.min.mjs",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "onnxruntime-wasm.wasm": _File(
        "package/dist/ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
    "onnxruntime-webgpu.js": _File(
        "package/dist/ort.webgpu.bundle.min.mjs",
        "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    ),
    "onnxruntime-webgpu.wasm": _File(
        "package/dist/ort-wasm-simd-threaded.asyncify.wasm",
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
    ),
}

RUNTIME_FILES = tuple(_FILES)
"""Names beside the page: a script and its program for the CPU, and the same for WebGPU."""


def read_onnxruntime_web(archive: Path | None) -> dict[str, bytes]:
    """Return the runtime's files, by their names beside the page, out of what `npm pack` wrote.

    Raises:
        UserError: If no archive is given, or its files are not those of the version that is known.
    """
    if archive is None:
        raise UserError(f"the page needs ONNX Runtime for browsers: {_HOW_TO_GET_IT}")
    if not archive.is_file():
        raise UserError(f"no such file: {archive}; {_HOW_TO_GET_IT}")
    contents = _unpacked(archive)
    for file in _FILES.values():
        found = contents.get(file.source)
        if found is None or hashlib.sha256(found).hexdigest() != file.sha256:
            raise UserError(
                f"{archive}: {file.source} is "
                f"{'missing' if found is None else 'not that of the supported version'}; "
                f"{_HOW_TO_GET_IT}"
            )
    return {name: contents[file.source] for name, file in _FILES.items()}


def _unpacked(archive: Path) -> dict[str, bytes]:
    """Return the contents of the files that are wanted, in memory."""
    wanted = {file.source for file in _FILES.values()}
    contents = {}
    try:
        with gzip.open(archive) as packed:
            whole = packed.read(_MAX_BYTES + 1)
        if len(whole) > _MAX_BYTES:
            raise UserError(f"{archive} unpacks to more than {_MAX_BYTES} bytes; {_HOW_TO_GET_IT}")
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as members:
            for member in members:
                if member.name in wanted and member.isreg() and member.size <= _MAX_FILE_BYTES:
                    file = members.extractfile(member)
                    contents[member.name] = b"" if file is None else file.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(
            f"{archive} is damaged or not an archive: {error}; {_HOW_TO_GET_IT}"
        ) from None
    return contents
