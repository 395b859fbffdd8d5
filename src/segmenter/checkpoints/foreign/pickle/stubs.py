"""Stand-ins for the objects in checkpoints of PaddlePaddle and PyTorch.

A pickle names functions and classes; `GLOBALS` is every name that is answered, each by a function
of this file. None of the real ones is ever called. Arrays and tensors are kept as claims about
bytes in the file, and looked at only when their values are wanted.
"""

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segmenter.checkpoints.foreign.pickle.latin1 import decode_latin1

_NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "b1"}
_BFLOAT16_CODE = "u2"  # how PaddlePaddle writes bfloat16
_MAX_DIMENSIONS = 8
_MAX_TUPLE = 64  # of those that a call makes: a few bytes could ask for copies without end
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class RefusedError(Exception):
    """A pickle asks for something that no stub answers; the message is its name."""


@dataclass(frozen=True)
class Global:
    """A function or class that a pickle names, and what is done when it calls it."""

    name: str
    call: Callable[..., Any]
    dtype: torch.dtype | None = None
    """Element type of a storage class."""


class Text:
    """A long text of the file, decoded only when wanted: protocol 2 writes bytes as text."""

    def __init__(self, text: str | bytes | memoryview) -> None:
        self._text = text

    def as_bytes(self) -> bytearray:
        """Return the bytes that were written as characters 0 to 255."""
        text = self._text
        return bytearray(text, "latin1") if isinstance(text, str) else decode_latin1(text)


class Opaque:
    """An object that is of no interest here; its contents are forgotten."""

    def __init__(self, *_ignored: object) -> None:
        pass

    def set_state(self, state: object) -> None:
        """Forget it."""


class Table(dict):
    """An ordered dict; the attributes that PyTorch hangs on it are forgotten."""

    def set_state(self, state: object) -> None:
        """Forget it."""


class DType:
    """A number type of numpy, by its short code such as `f4`."""

    def __init__(self, code: object, *_ignored: object) -> None:
        self.code = _word(code)
        self.byte_order = "<"

    def set_state(self, state: tuple) -> None:
        """Take the byte order over; the rest describes what is not a plain number."""
        self.byte_order = _word(state[1])

    @property
    def is_number(self) -> bool:
        """Return True for a plain, little-endian number."""
        return self.code in _NUMBERS and self.byte_order in ("<", "|", "=")

    def numpy(self) -> np.dtype:
        """Return the real type.

        Raises:
            ValueError: If it is not a plain number.
        """
        if not self.is_number:
            raise ValueError(f"of type {self.code!r} ({self.byte_order}), which is not read")
        return np.dtype("<" + self.code)


@dataclass(eq=False)
class Array:
    """A numpy array: what it claims, and the bytes in the file."""

    state: tuple = ()

    def set_state(self, state: tuple) -> None:
        """Keep (version, shape, dtype, is column by column, bytes)."""
        self.state = state

    @property
    def num_bytes(self) -> int:
        """Return the bytes that the values take in memory."""
        shape, dtype = self.state[1:3]
        return _num_elements(shape) * dtype.numpy().itemsize

    def tensor(self) -> Tensor:
        """Return the values, over the file's bytes where they can be used as they are.

        Raises:
            ValueError: If the array is of another type than numbers, or its size is a lie.
        """
        _, shape, dtype, is_fortran, data = self.state
        real = dtype.numpy()
        raw = data.as_bytes() if isinstance(data, Text) else data
        if isinstance(raw, bytes):
            raw = bytearray(raw)  # torch wants memory that may be written
        if self.num_bytes != len(raw):
            raise ValueError(f"said to have shape {shape}, but has {len(raw):,} bytes")
        if not len(raw):
            return torch.empty(shape)
        order = "F" if is_fortran else "C"
        if dtype.code == _BFLOAT16_CODE:
            values = np.frombuffer(raw, np.int16).reshape(shape, order=order)
            return torch.from_numpy(values).view(torch.bfloat16)
        return torch.from_numpy(np.frombuffer(raw, real).reshape(shape, order=order))


@dataclass(eq=False)
class Storage:
    """The flat numbers behind torch tensors; an older file gives the bytes after the pickle."""

    dtype: torch.dtype
    data: memoryview = field(default_factory=lambda: memoryview(b""))


@dataclass(eq=False)
class TensorClaim:
    """A torch tensor: where in which storage it claims to be."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Return the bytes that the values take in memory."""
        return _num_elements(self.shape) * self.storage.dtype.itemsize

    def tensor(self) -> Tensor:
        """Return the values, over the file's bytes.

        Raises:
            ValueError: If the tensor claims more than its storage holds.
        """
        count = _num_elements(self.shape)
        _num_elements(self.strides)
        if len(self.shape) != len(self.strides) or not _is_count(self.offset):
            raise ValueError(f"of shape {self.shape} with strides {self.strides}")
        held = len(self.storage.data) // self.storage.dtype.itemsize
        if count == 0:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        if count > held or last >= held:
            raise ValueError(
                f"said to have shape {self.shape}, {count:,} numbers, but there are {held:,}"
            )
        flat = torch.frombuffer(self.storage.data, dtype=self.storage.dtype)
        return flat.as_strided(self.shape, self.strides, self.offset)


def _num_elements(shape: object) -> int:
    """Return the product of a shape, after a look at whether it is one."""
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError("without a shape")
    if not all(map(_is_count, shape)):
        raise ValueError(f"of shape {reprlib.repr(shape)}")
    return math.prod(shape)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 1 << 48


def _word(value: object) -> str:
    """Return a text, and nothing that could be nested so that comparing it takes forever."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a text should be")
    return value


def _encode(text: object, encoding: object) -> Text:
    if _word(encoding) != "latin1":
        raise ValueError(f"an encoding {encoding!r}, where only latin1 is known")
    return text if isinstance(text, Text) else Text(_word(text))


def _from_buffer(data: bytes | memoryview, dtype: DType, shape: tuple, order: object) -> Array:
    """Array as pickle protocol 5 writes it."""
    return Array((1, shape, dtype, _word(order) == "F", data))


def _scalar(dtype: DType, data: bytes | str | Text) -> object:
    """Return a number; anything else that numpy may pack into a scalar is opaque."""
    if not dtype.is_number:
        return Opaque()
    real = dtype.numpy()
    if isinstance(data, str):
        data = Text(data)
    raw = data.as_bytes() if isinstance(data, Text) else data
    if len(raw) != real.itemsize:
        raise ValueError(f"a number of type {dtype.code} in {len(raw)} bytes")
    return np.frombuffer(raw, real)[0].item()


def _rebuild_tensor(
    storage: Storage, offset: int, shape: tuple, strides: tuple, *_ignored: object
) -> TensorClaim:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    return TensorClaim(storage, offset, shape, strides)


def _rebuild_parameter(data: TensorClaim, *_ignored: object) -> TensorClaim:
    return data


def _tuple(items: list | tuple = ()) -> tuple:
    if type(items) not in (list, tuple):
        raise ValueError("a tuple of what is not a list")
    if len(items) > _MAX_TUPLE:
        raise ValueError(f"a tuple of {len(items):,} items, where {_MAX_TUPLE} would be many")
    return tuple(items)


def _ordered_dict(*items: object) -> Table:
    if items not in ((), ([],)):
        raise ValueError("an OrderedDict made in an unknown way")
    return Table()


def _history_method(owner: object, name: object) -> Opaque:
    """`getattr(HistoryBuffer, "min")` stands in genuine MMSegmentation files; nothing else may."""
    if not isinstance(owner, Global) or not owner.name.endswith(".HistoryBuffer"):
        asked = owner.name if isinstance(owner, Global) else type(owner).__name__
        raise RefusedError(f"getattr({asked}, {reprlib.repr(name)})")
    return Opaque()


def _storage_class(*_ignored: object) -> Storage:
    raise ValueError("a storage made in an unknown way")


_CALLS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "collections.OrderedDict": _ordered_dict,
    "builtins.tuple": _tuple,
    "__builtin__.tuple": _tuple,
    "builtins.getattr": _history_method,
    "__builtin__.getattr": _history_method,
    "numpy.ndarray": Opaque,
    "numpy.dtype": DType,
    **{
        f"numpy.{core}.multiarray.{name}": call
        for core in ("core", "_core")
        for name, call in (("_reconstruct", lambda *_: Array()), ("scalar", _scalar))
    },
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _tuple,
    "torch.device": Opaque,
    "mmengine.logging.history_buffer.HistoryBuffer": Opaque,
    "argparse.Namespace": Opaque,
    "pathlib.Path": Opaque,
    "pathlib.PosixPath": Opaque,
    "pathlib.WindowsPath": Opaque,
}

GLOBALS: dict[str, Global] = {name: Global(name, call) for name, call in _CALLS.items()} | {
    f"torch.{name}": Global(f"torch.{name}", _storage_class, dtype)
    for name, dtype in _STORAGES.items()
}
"""Every name that a pickle may ask for."""
