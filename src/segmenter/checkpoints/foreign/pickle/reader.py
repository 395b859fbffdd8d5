"""Reading pickles without running anything that they ask for.

The pure-Python unpickler of the standard library does the bookkeeping, with three changes: a name
is answered by a stub of `stubs.py` or refused, an object is only ever changed by a method of its
stub, and the number of steps is limited. The C unpickler will not do: nine bytes make it take
hundreds of megabytes for its memo.
"""

import pickle
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from segmenter.checkpoints.foreign.pickle.stubs import (
    GLOBALS,
    Array,
    DType,
    Global,
    Opaque,
    RefusedError,
    Storage,
    Table,
    Text,
)
from segmenter.errors import UserError

_MAX_STEPS = 500_000
"""ViT-L with its optimizer takes about 60,000."""
_LONG = 1 << 16
"""Texts and bytes beyond this stay in the file until they are wanted."""
_MAX_LINE = 4096
# A key that is hashed by its contents could be nested so that this takes forever.
_KEY_TYPES = (str, int, float, bool, bytes, type(None))
_WITH_STATE = (Array, DType, Opaque, Table)


class Bytes:
    """A part of a file, read from front to back; long reads are views and copy nothing."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._position = 0

    def read(self, count: int) -> bytes | memoryview:
        """Return the next bytes.

        Raises:
            EOFError: If fewer are left.
        """
        part = self.view(count)
        return part if count > _LONG else bytes(part)

    def view(self, count: int) -> memoryview:
        """Return the next bytes, never copied; as `read`."""
        if not 0 <= count <= len(self._view) - self._position:
            raise EOFError("it ends too early")
        self._position += count
        return self._view[self._position - count : self._position]

    def readline(self) -> bytes:
        """Return the next line, of at most 4096 bytes."""
        start = bytes(self._view[self._position : self._position + _MAX_LINE])
        length = start.find(b"\n") + 1
        return bytes(self.view(length or _MAX_LINE))

    def readinto(self, _buffer: object) -> NoReturn:
        """Only for opcodes that are not read."""
        raise ValueError("an out-of-band buffer")


def unpickle(
    source: Bytes, path: object, find_storage: Callable[[Any], Storage] | None = None
) -> Any:
    """Read one pickle into plain values and stubs.

    Args:
        source: Where it starts; left after its end.
        path: What to call the file.
        find_storage: Gives the storage that a persistent id of PyTorch names.

    Raises:
        UserError: If the pickle asks for anything that is not known, or is damaged.
    """
    try:
        return _Unpickler(source, find_storage).load()
    except RefusedError as error:
        raise UserError(
            f"{path} asks for {error}, which is not part of a model's weights; it is refused, and "
            "nothing of it was run"
        ) from None
    except Exception as error:  # hostile bytes may raise anything
        reason = str(error)[:200] or type(error).__name__
        raise UserError(f"{path} is damaged or not a checkpoint: {reason}") from None


class _Steps(dict):
    """The opcodes that are read, counting down with each look-up."""

    left = _MAX_STEPS

    def __getitem__(self, opcode: int) -> Callable[..., None]:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {_MAX_STEPS:,} steps")
        return super().__getitem__(opcode)

    def __missing__(self, opcode: int) -> NoReturn:
        raise ValueError(f"pickle opcode {bytes([opcode])!r}, which no checkpoint needs")


_Base: Any = pickle._Unpickler  # the type stubs of the standard library do not describe it


class _Unpickler(_Base):
    """Plain values and stubs only."""

    def __init__(self, source: Bytes, find_storage: Callable[[Any], Storage] | None) -> None:
        super().__init__(source, encoding="latin1")
        self._find_storage = find_storage
        self.dispatch = _Steps(_HANDLERS)

    def find_class(self, module: str, name: str) -> Global:
        full = f"{module}.{name}"
        if full not in GLOBALS:
            raise RefusedError(full[:200])
        return GLOBALS[full]

    def persistent_load(self, pid: Any) -> Storage:
        if self._find_storage is None:
            raise ValueError("a tensor outside of the file")
        return self._find_storage(pid)

    def _instantiate(self, klass: Any, args: Any) -> None:
        """Run INST, OBJ, NEWOBJ or REDUCE: ask a stub, and nothing else."""
        if not isinstance(klass, Global):
            raise ValueError("a call of what is not a function")
        self.append(klass.call(*args))

    def load_frame(self) -> None:
        self.read(8)  # the length of a frame: of use for streams, not for a file in memory

    def load_reduce(self) -> None:
        args = _of_type(self.stack.pop(), (tuple,))
        self._instantiate(self.stack.pop(), args)

    def load_build(self) -> None:
        state = self.stack.pop()
        _of_type(self.stack[-1], _WITH_STATE).set_state(state)

    def load_append(self) -> None:
        value = self.stack.pop()
        _of_type(self.stack[-1], (list,)).append(value)

    def load_bytearray8(self) -> None:
        self.append(self.read(*struct.unpack("<Q", self.read(8))))

    def load_appends(self) -> None:
        items = self.pop_mark()
        _of_type(self.stack[-1], (list,)).extend(items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        added = _of_type(self.stack[-1], (set,))
        added.update(_of_type(item, _KEY_TYPES) for item in items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _of_type(self.stack[-1], (dict, Table))[_of_type(key, _KEY_TYPES)] = value

    def load_setitems(self) -> None:
        self._fill(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def load_binunicode(self) -> None:
        self._append_text(*struct.unpack("<I", self.read(4)))

    def load_binunicode8(self) -> None:
        self._append_text(*struct.unpack("<Q", self.read(8)))

    def _append_text(self, length: int) -> None:
        utf8 = self.read(length)
        is_long = len(utf8) > _LONG
        self.append(Text(utf8) if is_long else str(utf8, "utf-8", "surrogatepass"))

    def _fill(self, items: list) -> None:
        table = _of_type(self.stack[-1], (dict, Table))
        for key, value in zip(items[::2], items[1::2], strict=True):
            table[_of_type(key, _KEY_TYPES)] = value


def _of_type(value: Any, types: tuple[type, ...]) -> Any:
    if type(value) not in types:
        raise ValueError(f"a {type(value).__name__} where it cannot be")
    return value


_KEPT = (
    "PROTO STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG "
    "LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINBYTES "
    "SHORT_BINBYTES BINBYTES8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST EMPTY_DICT "
    "EMPTY_SET GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL INST OBJ "
    "BINPERSID"
)
_HANDLERS: dict[int, Callable[..., None]] = {
    getattr(pickle, name)[0]: _Base.dispatch[getattr(pickle, name)[0]] for name in _KEPT.split()
} | {
    pickle.FRAME[0]: _Unpickler.load_frame,
    pickle.REDUCE[0]: _Unpickler.load_reduce,
    pickle.NEWOBJ[0]: _Unpickler.load_reduce,
    pickle.BUILD[0]: _Unpickler.load_build,
    pickle.APPEND[0]: _Unpickler.load_append,
    pickle.APPENDS[0]: _Unpickler.load_appends,
    pickle.ADDITEMS[0]: _Unpickler.load_additems,
    pickle.SETITEM[0]: _Unpickler.load_setitem,
    pickle.SETITEMS[0]: _Unpickler.load_setitems,
    pickle.DICT[0]: _Unpickler.load_dict,
    pickle.BINUNICODE[0]: _Unpickler.load_binunicode,
    pickle.BINUNICODE8[0]: _Unpickler.load_binunicode8,
    pickle.BYTEARRAY8[0]: _Unpickler.load_bytearray8,
}
"""The rest of the opcodes (out-of-band buffers, copyreg's extensions, `NEWOBJ_EX`) is refused."""
