"""The files around pickles and arrays: `.pdparams`, `.pth` (zip, and PyTorch before 1.6), `.npz`.

A file is mapped into memory, not read: what is not asked for costs nothing, and tensors lie over
the mapped bytes until they are copied into a model.
"""

import io
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.checkpoints.foreign.pickle.reader import Bytes, unpickle
from segmenter.checkpoints.foreign.pickle.stubs import Array, DType, Global, Storage
from segmenter.errors import UserError

_MAX_FILE_BYTES = 1 << 35
_MAX_PICKLE_BYTES = 1 << 28  # inside a zip, where the tensors lie outside of the pickle
_MAX_ENTRIES = 20_000
_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first value of a .pth from before PyTorch 1.6
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_END_OF_ZIP = struct.Struct("<4sHHHHII")
_ENTRY_BYTES = 46  # the shortest entry of a zip's directory


def read_container(path: Path) -> Any:
    """Read what a checkpoint holds, by its content: plain values, and stubs for arrays.

    Raises:
        UserError: If the file is missing, damaged, of no known kind, or asks for code to be run.
    """
    view = _map(path)
    head = bytes(view[:4])
    if head == _ZIP_MAGIC:
        return _read_zip(view, path)
    if head[:1] == _PICKLE_MAGIC:
        source = Bytes(view)
        content = unpickle(source, path)
        return _read_legacy(source, path) if content == _LEGACY_MAGIC else content
    raise UserError(
        f"{path} is not a checkpoint: neither safetensors, a pickle nor a zip of either"
    )


def is_safetensors(path: Path) -> bool:
    """Return True if a file begins as safetensors do: a length, then JSON."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _map(path: Path) -> memoryview:
    try:
        size = path.stat().st_size
        if size == 0:
            raise UserError(f"{path} is empty")
        if size > _MAX_FILE_BYTES:
            raise UserError(f"{path} has {size:,} bytes; at most {_MAX_FILE_BYTES:,} are read")
        with path.open("rb") as file:
            # Copy on write: tensors want memory that may be written, the file stays as it is.
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _read_zip(view: memoryview, path: Path) -> Any:
    entries = _open_zip(view, path)
    if entries and all(name.endswith(".npy") for name in entries):
        try:
            return {name.removesuffix(".npy"): _npy(data) for name, data in entries.items()}
        except Exception as error:  # numpy raises many things over a damaged header
            reason = str(error)[:200] or type(error).__name__
            raise UserError(f"{path} is a damaged .npz: {reason}") from None
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UserError(f"{path} is a zip, but not a checkpoint: it holds {len(pickles)} data.pkl")
    prefix = pickles[0].removesuffix("data.pkl")
    if bytes(entries.get(f"{prefix}byteorder", b"little")[:8]) != b"little":
        raise UserError(f"{path} was written on a big-endian machine, which is not read")
    if len(entries[pickles[0]]) > _MAX_PICKLE_BYTES:
        raise UserError(f"{path}: its pickle is larger than {_MAX_PICKLE_BYTES:,} bytes")

    def find_storage(pid: Any) -> Storage:
        kind, key, count = _storage_id(pid)
        num_bytes = count * kind.itemsize
        data = entries.get(f"{prefix}data/{key}", memoryview(b""))
        if len(data) < num_bytes:
            raise ValueError(f"storage {key} claims {num_bytes:,} bytes and has {len(data):,}")
        return Storage(kind, data[:num_bytes])

    return unpickle(Bytes(entries[pickles[0]]), path, find_storage)


def _open_zip(view: memoryview, path: Path) -> dict[str, memoryview]:
    """Return the entries of a zip that is plainly stored, each a part of the file.

    PyTorch stores without compression; an entry that is compressed, or lies over another one, is
    a bomb.
    """
    try:
        _check_directory_size(view)
        with zipfile.ZipFile(io.BufferedReader(_Window(view))) as file:
            listed = file.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        raise UserError(f"{path} is a damaged or truncated zip: {error}") from None
    for info in listed:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise UserError(
                f"{path} has the compressed entry {info.filename[:100]!r}, which no checkpoint "
                "has; refused"
            )
    if sum(info.file_size for info in listed) > len(view):
        raise UserError(f"{path} is a zip whose entries claim more than the whole file; refused")
    entries = {}
    for info in listed:
        header = bytes(view[info.header_offset : info.header_offset + _LOCAL_HEADER.size])
        if len(header) < _LOCAL_HEADER.size or header[:4] != _ZIP_MAGIC:
            raise UserError(f"{path} is damaged: no entry where {info.filename[:100]!r} should be")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + len(header) + name_length + extra_length
        data = view[start : start + info.file_size]
        if len(data) != info.file_size:
            raise UserError(f"{path} is truncated: {info.filename[:100]!r} is not whole")
        entries[info.filename] = data
    return entries


def _check_directory_size(view: memoryview) -> None:
    """Refuse a directory of millions of entries, which would take seconds to read."""
    most = _MAX_ENTRIES * _ENTRY_BYTES * 4
    tail = bytes(view[-(1 << 16) :])
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < _END_OF_ZIP.size:
        raise ValueError("it has no directory")
    size = _END_OF_ZIP.unpack_from(tail, end)[5]
    wide = tail.rfind(b"PK\x06\x06", 0, end)
    if wide >= 0:
        (size,) = struct.unpack_from("<Q", tail, wide + 40)
    if size > most:
        raise ValueError(f"its directory takes {size:,} bytes")


class _Window(io.RawIOBase):
    """The mapped bytes as a file, for `zipfile`."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}
        if origin[whence] + offset < 0:
            raise ValueError("a place before the start of the file")
        self._position = origin[whence] + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        part = self._view[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


def _storage_id(pid: Any) -> tuple[Any, str, int]:
    """Type, name and number of elements of a storage that a pickle refers to."""
    kind, storage_class, key, _device, count, *view = pid
    if kind != "storage" or not isinstance(storage_class, Global) or storage_class.dtype is None:
        raise ValueError("a persistent id that is not a storage")
    if not isinstance(key, str) or not isinstance(count, int) or count < 0 or any(view):
        raise ValueError("a storage without name or size, or that is a part of another one")
    return storage_class.dtype, key, count


def _read_legacy(source: Bytes, path: Path) -> Any:
    """Read a `.pth` from before PyTorch 1.6: some pickles, then the numbers of all storages."""
    unpickle(source, path)  # version
    unpickle(source, path)  # about the machine
    storages: dict[str, tuple[Storage, int]] = {}

    def find_storage(pid: Any) -> Storage:
        kind, key, count = _storage_id(pid)
        return storages.setdefault(key, (Storage(kind), count))[0]

    content = unpickle(source, path, find_storage)
    keys = unpickle(source, path)
    try:
        for key in keys:
            if not isinstance(key, str):
                raise ValueError("a storage without a name")
            storage, count = storages[key]
            (written,) = struct.unpack("<q", source.read(8))
            if written != count:
                raise ValueError(f"storage {key} has {written:,} numbers and claims {count:,}")
            storage.data = source.view(count * storage.dtype.itemsize)
    except (ValueError, EOFError, KeyError, TypeError, struct.error) as error:
        raise UserError(f"{path} is damaged or truncated: {error}") from None
    return content


def _npy(data: memoryview) -> Array:
    """Return one array of a `.npz`; pickled objects stay an array of a type that is never read."""
    head = io.BytesIO(bytes(data[: 1 << 14]))
    version = np.lib.format.read_magic(head)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read_header(head)
    code = DType(dtype.str[1:])
    code.byte_order = dtype.str[0]
    return Array((1, shape, code, is_fortran, data[head.tell() :]))
