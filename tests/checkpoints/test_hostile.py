"""Hostile and damaged checkpoints are refused by name, quickly, and nothing of them is run."""

import contextlib
import io
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import segmenter
from segmenter import UserError
from segmenter.checkpoints.encoder_weights import load_encoder_weights
from segmenter.model import Segmenter
from tests.checkpoints.writers import (
    make_model,
    run_measurement,
    write_paddleseg,
    write_rstrudel,
)
from tests.conftest import GOLDEN, make_spec

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
    with zipfile.ZipFile(buffer, "w", compression) as file:
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


def nested_key() -> bytes:
    """A tuple of itself twice, 64 levels deep, as a key: hashing it would take forever."""
    return b"\x80\x02})" + b"2\x86" * 64 + b"Ns."


HISTORY = "mmengine.logging.history_buffer\nHistoryBuffer\n"
CASES: dict[str, tuple[bytes, str]] = {
    "system, protocol 0": (pickle.dumps(Calls(os.system, TOUCH), 0), "is no checkpoint"),
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
        "call of what is no function",
    ),
    "attributes of a stub": (b"\x80\x02cnumpy\nndarray\n}X\x04\x00\x00\x00callNsb.", "Global"),
    "copyreg extension": (b"\x80\x02\x82\x01.", "opcode"),
    "nested key": (nested_key(), "a tuple where it cannot be"),
    "memo of 9 bytes": (b"\x80\x02Nr\xff\xff\xff\x7f.", "NoneType"),
    "many steps": (b"\x80\x02" + b"N0" * 2_000_000 + b".", "500,000 steps"),
    "deep lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "holds a list"),
    "bytes that are not there": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.", "too early"),
    "a text that is not there": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"a.", "too early"),
    "a buffer that is not there": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "opcode"),
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
    "a text": (b"no checkpoint at all", "is no checkpoint"),
    "no table": (pickle.dumps([1, 2], 2), "holds a list"),
    "a table without weights": (pickle.dumps({"epoch": 3}, 2), "no Segmenter"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_and_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = CASES[name]
    Path("model.pth").write_bytes(content)
    shutil.copy(GOLDEN / "rstrudel_mask" / "variant.yml", "variant.yml")
    with pytest.raises(UserError, match=reason) as refused:
        segmenter.load("model.pth")
    assert "model.pth" in str(refused.value)
    assert not Path(CANARY).exists()
    with pytest.raises(UserError, match=r"model\.pth"):
        load_encoder_weights(Segmenter(make_spec()).encoder, "model.pth")


MEASURE = """
import sys, time, segmenter
from pathlib import Path
from segmenter.checkpoints import load
from tests.checkpoints.writers import peak_memory
before, slowest = peak_memory(), 0.0
for path in sorted(Path(sys.argv[1]).glob("*.pth")):
    start = time.process_time()
    try:
        load(path)
    except segmenter.UserError:
        slowest = max(slowest, time.process_time() - start)
print(slowest, peak_memory() - before)
"""


def test_refusing_takes_two_seconds_and_300_mb_at_most(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(CASES.values()):
        (tmp_path / f"{number}.pth").write_bytes(content)
    shutil.copy(GOLDEN / "rstrudel_mask" / "variant.yml", tmp_path)
    seconds, more_memory = run_measurement(MEASURE, tmp_path)
    print(f"slowest {seconds:.2f} s, {more_memory / 1e6:.0f} MB more")
    assert seconds < 2
    assert more_memory < 300e6


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["mmseg_mask/checkpoint.pth", "paddleseg_mask/model.pdparams"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    data = (GOLDEN / name).read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match="cut"):
        segmenter.load(tmp_path / "cut")


def test_a_truncated_file_of_old_pytorch_is_refused(tmp_path: Path) -> None:
    path = write_rstrudel(tmp_path, make_model())
    content = torch.load(path)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for length in (100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"damaged"):
            segmenter.load(path)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_end_in_another_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = write_paddleseg(tmp_path, make_model(qkv_bias=False), protocol=2 + seed % 3)
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, 3000, 5):
        data[place] = rng.integers(256)
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        segmenter.load(path)


def test_pickled_objects_in_a_npz_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.npz"
    hostile = np.array([Calls(os.system, TOUCH)], dtype=object)
    np.savez(path, **{"embedding/kernel": hostile})
    with pytest.raises(UserError, match=r"encoder\.npz.*'O'"):
        load_encoder_weights(Segmenter(make_spec()).encoder, str(path))
    np.savez_compressed(path, **{"embedding/kernel": np.zeros(1 << 20)})
    with pytest.raises(UserError, match="compressed entry"):
        load_encoder_weights(Segmenter(make_spec()).encoder, str(path))
