"""Model files whose header is changed while every byte of their weights stays."""

import json
import struct
from pathlib import Path
from typing import Any


def read_header(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes of its tensors."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_header(path: Path, header: dict[str, Any], data: bytes) -> Path:
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def relabel(
    path: Path,
    *,
    dtype: str | None = None,
    spec: dict[str, Any] | None = None,
    is_old: bool = False,
) -> Path:
    """Write a copy beside a model file whose weights claim another dtype, or its spec other fields.

    Args:
        path: A file that `save` wrote.
        dtype: What all tensors claim to be, in safetensors' words; none: what they are.
        spec: Replaces fields of sections, such as `{"normalization": {"mean": [0, 0, 0]}}`.
        is_old: Leave out the digest that 0.1.0 did not write.
    """
    header, data = read_header(path)
    facts = json.loads(header["__metadata__"]["segmenter"])
    for section, fields in (spec or {}).items():
        facts["spec"][section] |= fields
    if is_old:
        del facts["digest"]
    header["__metadata__"]["segmenter"] = json.dumps(facts)
    for name, tensor in header.items():
        if dtype is not None and name != "__metadata__":
            tensor["dtype"] = dtype
    return write_header(path.with_name("relabelled.safetensors"), header, data)
