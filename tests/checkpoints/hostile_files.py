"""Hostile and damaged checkpoints, and what each of them is refused with."""

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable

from tests.helpers.models import make_spec

CANARY = "canary"
TOUCH = f"touch {CANARY}"


class Calls:
    """An object whose pickle asks for a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def torch_zip(content: object, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A `.pth` around any pickle, with one storage of 16 bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, compresslevel=1) as file:
        data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/data/0", bytes(16))
    return buffer.getvalue()


def claimed_tensor(*, count: int = 4, shape: tuple = (4,), strides: tuple = (1,)) -> bytes:
    """A `.pth` of the paper's code whose first tensor claims what it likes."""
    pid = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    pid += pickle.dumps(count, 2)[2:-1] + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"K\x00"
    tensor += b"".join(pickle.dumps(value, 2)[2:-1] for value in (shape, strides)) + b"\x89}tR"
    names = ("encoder.patch_embed.proj.weight", "decoder.head.weight")
    items = b"".join(b"X" + struct.pack("<I", len(n)) + n.encode() + tensor for n in names)
    return torch_zip(b"\x80\x02}X\x05\x00\x00\x00model}(" + items + b"us.")


def lying_zip() -> bytes:
    """A `.pth` whose directory claims 1 GiB for an entry of 16 bytes."""
    data = bytearray(torch_zip({}))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    return bytes(data)


def many_entries() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({}))
    data = bytearray(buffer.getvalue())
    data[-10:-6] = struct.pack("<I", 1 << 30)
    return bytes(data)


NESTED = b")" + b"2\x86" * 64
"""A tuple of itself twice, 64 levels deep: hashing, comparing or showing it would take forever."""


def text(value: str) -> bytes:
    """A text, as an opcode."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def table_of(value: bytes, *, module: str = "") -> bytes:
    """A `.pdparams` whose first tensors are what these opcodes make."""
    names = ("backbone.patch_embed.proj.weight", "head.cls_token")
    return b"\x80\x02}(" + b"".join(text(module + name) + value for name in names) + b"u."


def array(shape: bytes, dtype: bytes = b"f4") -> bytes:
    """Opcodes of a numpy array of no bytes."""
    made = b"cnumpy._core.multiarray\n_reconstruct\n)R"
    number = b"cnumpy\ndtype\n" + (text("f4") if dtype == b"f4" else dtype) + b"\x85R"
    return made + b"(K\x01" + shape + number + b"\x89" + b"U\x00" + b"tb"


def tuple_bomb() -> bytes:
    """A list of 10,000 made into 30,000 tuples."""
    made = b"\x80\x02](" + b"N" * 10_000 + b"eq\x00c__builtin__\ntuple\nq\x01"
    return made + b"h\x01h\x00\x85R" * 30_000 + b"."


def text_bomb() -> bytes:
    """A text of 60,000 letters encoded 100,000 times."""
    made = b"\x80\x02(" + text("a" * 60_000) + b"q\x00" + text("latin1") + b"q\x01"
    made += b"c_codecs\nencode\nq\x02"
    return made + b"h\x02h\x00h\x01\x86R" * 90_000 + b"l."


def many_dropped() -> bytes:
    """50,000 empty tensors that are all left out."""
    one = array(b"K\x00\x85") + b"q\x00"
    items = b"".join(text(f"backbone.head.{number}") + b"h\x00" for number in range(50_000))
    names = ("backbone.patch_embed.proj.weight", "head.cls_token")
    return b"\x80\x02}(" + b"".join(text(n) + one for n in names) + items + b"u."


def old_pth(keys: bytes) -> bytes:
    """A `.pth` of before PyTorch 1.6 that names its storages so."""
    first = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    return first + pickle.dumps(1001, 2) + pickle.dumps({}, 2) * 2 + b"\x80\x02" + keys + b"."


def overlapping_zip() -> bytes:
    """A zip whose directory lists one entry a hundred times."""
    data = torch_zip({"a": bytes(60_000)})
    start = data.find(b"PK\x01\x02")
    length = struct.unpack_from("<HHH", data, start + 28)
    entry = data[start : start + 46 + sum(length)]
    size = struct.pack("<HHHHII", 0, 0, 100, 100, 100 * len(entry), start)
    return data[:start] + entry * 100 + b"PK\x05\x06" + size + b"\0\0"


def safetensors(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def own_model(**encoder: int) -> bytes:
    """A model file of ours that describes an encoder of impossible sizes."""
    spec = make_spec().model_dump(mode="json")
    spec["encoder"] |= encoder
    facts = json.dumps({"spec": spec, "sha256": hashlib.sha256(b"").hexdigest()})
    return safetensors({"__metadata__": {"segmenter": facts}})


def f32(shape: list[int], start: int, end: int) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


HISTORY = "mmengine.logging.history_buffer\nHistoryBuffer\n"
CASES: dict[str, tuple[bytes, str]] = {
    "system, protocol 0": (pickle.dumps(Calls(os.system, TOUCH), 0), "is not a checkpoint"),
    "system, protocol 2": (pickle.dumps(Calls(os.system, TOUCH), 2), r"posix\.system"),
    "system, protocol 4": (pickle.dumps({"a": Calls(os.system, TOUCH)}, 4), r"posix\.system"),
    "system, old style": (b"\x80\x02(S'" + TOUCH.encode() + b"'\nios\nsystem\n.", r"os\.system"),
    "object of os.system": (b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ao.", r"os\.system"),
    "eval": (pickle.dumps(Calls(eval, f"open({CANARY!r}, 'w')"), 2), r"builtin.*\.eval"),
    "eval in a zip": (torch_zip({"model": {"w": Calls(eval, "1")}}), r"builtin.*\.eval"),
    "getattr of a dict": (
        pickle.dumps(Calls(getattr, Calls(dict), "update"), 2),
        r"builtin.*\.dict",
    ),
    "getattr of a known class": (
        b"\x80\x02c__builtin__\ngetattr\nccollections\nOrderedDict\nX\x06\x00\x00\x00update\x86R.",
        r"getattr\(collections\.OrderedDict, 'update'\)",
    ),
    "getattr, then a call": (
        f"\x80\x02c__builtin__\ngetattr\nc{HISTORY}X\x03\x00\x00\x00min\x86R)R.".encode("latin1"),
        "call of what is not a function",
    ),
    "attributes of a stub": (b"\x80\x02cnumpy\nndarray\n}X\x04\x00\x00\x00callNsb.", "Global"),
    "copyreg extension": (b"\x80\x02\x82\x01.", "opcode"),
    "nested key": (b"\x80\x02}" + NESTED + b"Ns.", "a tuple where it cannot be"),
    "nested shape": (table_of(array(NESTED)), "of shape"),
    "nested type": (table_of(array(b")", NESTED)), "where a text should be"),
    "nested encoding": (
        b"\x80\x02c_codecs\nencode\n" + text("a") + NESTED + b"\x86R.",
        "where a text should be",
    ),
    "nested attribute": (
        b"\x80\x02c__builtin__\ngetattr\nccollections\nOrderedDict\n" + NESTED + b"\x86R.",
        r"getattr\(collections\.OrderedDict",
    ),
    "nested storage": (old_pth(b"](" + NESTED + b"e"), "a storage without a name"),
    "an empty encoder": (table_of(array(b"(K\x00K\x03K\x10K\x10t")), "damaged|class token"),
    "tuples of a long list": (tuple_bomb(), "a tuple of 10,000 items"),
    "one text encoded often": (text_bomb(), "holds a list"),
    "many tensors to leave out": (many_dropped(), "no encoder|no Segmenter|prefix"),
    "a global that is not a text": (b"\x80\x04K\x01K\x02\x93.", "damaged"),
    "a dotted global": (
        b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.",
        r"collections\.OrderedDict\.__init__",
    ),
    "a class that ends alike": (b"\x80\x02cos\nx.HistoryBuffer\n.", r"os\.x\.HistoryBuffer"),
    "keywords": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "opcode"),
    "an id as a line": (b"\x80\x02P0\n.", "opcode"),
    "an id of nothing": (b"\x80\x02NQ.", "outside of the file"),
    "state of a dict": (b"\x80\x02}}X\x01\x00\x00\x00aNsb.", "a dict where it cannot be"),
    "nothing on the stack": (b"\x80\x02R.", "damaged"),
    "a memo that is not there": (b"\x80\x02h\x07.", "damaged"),
    "no end": (b"\x80\x02}", "damaged"),
    "a zip with one entry often": (overlapping_zip(), "claim more than the whole file"),
    "safetensors: header too long": (struct.pack("<Q", 1 << 60) + b"{", "not a safetensors file"),
    "safetensors: no JSON": (safetensors(b"{" + b"[" * 100_000), "not a safetensors file"),
    "safetensors: 1e12 numbers": (
        safetensors({"a": f32([10**6, 10**6], 0, 4 * 10**12)}),
        "not a safetensors file",
    ),
    "safetensors: overlap": (
        safetensors({"a": f32([4], 0, 16), "b": f32([4], 8, 24)}, bytes(24)),
        "not a safetensors file",
    ),
    "safetensors: before the start": (
        safetensors({"a": f32([4], -16, 0)}),
        "not a safetensors file",
    ),
    "safetensors: a size that overflows": (
        safetensors({"a": f32([1 << 62, 1 << 62], 0, 0)}),
        "not a safetensors file",
    ),
    "safetensors: too long a shape": (
        safetensors({"a": f32([4] * 64, 0, 0)}),
        "not a safetensors file",
    ),
    "safetensors: a description of nothing": (
        safetensors({"__metadata__": {"segmenter": "[" * 100_000}}),
        "cannot be read",
    ),
    "our model, too large to be": (
        own_model(patch_size=1 << 20, embed_dim=1 << 16),
        r"patch_size: input should be less than or equal to 128, got 1048576",
    ),
    "memo of 9 bytes": (b"\x80\x02Nr\xff\xff\xff\x7f.", "NoneType"),
    "many steps": (b"\x80\x02" + b"N0" * 2_000_000 + b".", "500,000 steps"),
    "deep lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "holds a list"),
    "bytes that are not there": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.", "too early"),
    "a text that is not there": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"a.", "too early"),
    "a buffer that is not there": (
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        "too early",
    ),
    "an int that is not there": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "too early"),
    "compressed zip": (torch_zip(b"\0" * (1 << 28), compression=8), "compressed entry"),
    "zip that lies": (lying_zip(), "claim more than the whole file"),
    "zip with a huge directory": (many_entries(), "directory|damaged"),
    "zip without a pickle": (torch_zip({})[:-22], "damaged or truncated"),
    "a storage that is too short": (claimed_tensor(count=1 << 40), "claims 4,398,046,511,104"),
    "1e12 elements": (
        claimed_tensor(shape=(10**6, 10**6), strides=(0, 0)),
        "more, with the tensors before it, than the whole file",
    ),
    "outside of its storage": (claimed_tensor(strides=(9,)), "but there are 4"),
    "a shape that cannot be": (claimed_tensor(shape=(-4,)), r"of shape \(-4,\)"),
    "empty": (b"", "is empty"),
    "a text": (b"no checkpoint at all", "is not a checkpoint"),
    "no table": (pickle.dumps([1, 2], 2), "holds a list"),
    "a table without weights": (pickle.dumps({"epoch": 3}, 2), "no Segmenter"),
}
