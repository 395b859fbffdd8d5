"""Processes that read batches ahead, whatever room /dev/shm has.

Process i of n reads batches i, i + n, i + 2n, ..., and is joined to the training process by a
socket of its own, so batches come in order and no lock is shared. A batch is handed over as a
memory file, which lies in no folder and so within no limit of /dev/shm; where the system has none,
its bytes go through the socket.
"""

import atexit
import contextlib
import functools
import mmap
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import torch
from jaxtyping import UInt8
from torch import Tensor

from segmenter.errors import UserError

Parts = TypeVar("Parts")
"""Message of a process about a batch; pickled."""

BATCHES_AHEAD = 2
"""Batches that each process may have on their way."""
_POLL_SECONDS = 0.2
_SHARED_MEMORY = Path("/dev/shm")

Bytes = UInt8[Tensor, " bytes"]
"""The memory of a batch."""

TakeMemory = Callable[[int], Bytes]
"""Gives memory of this number of bytes for a batch; called once for each."""


class ReaderDied(Exception):  # noqa: N818 - nothing is lost, it is read again
    """A process that reads has ended before its time."""


class CannotStart(Exception):  # noqa: N818 - there is another way
    """The system does not start another process."""


Read = Callable[[list[int], TakeMemory], Parts]
"""Reads the batch of some positions into memory that it takes, and says what it put there."""


def read_in_processes(
    read: Read[Parts],
    batches: Sequence[list[int]],
    workers: int,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Parts, Bytes]]:
    """Batches and their memory, in order, read by processes that end with this generator.

    Args:
        read: Run in the processes.
        batches: The positions of each batch.
        workers: How many processes, at least 1.
        is_stopping: Called while this process waits for a batch; once true, no batch comes.

    Raises:
        ReaderDied: If a process ended.
        CannotStart: If the system starts none.
    """
    readers: list[_Reader] = []

    def end() -> None:
        for reader in readers:
            reader.end()

    # A process at its exit waits for those it started: for ever, if this generator is not closed.
    atexit.register(end)
    try:
        for index in range(min(workers, len(batches))):
            readers.append(_Reader(read, batches[index::workers]))
        for number in range(len(batches)):
            taken = readers[number % workers].take(is_stopping)
            if taken is None:
                return
            yield taken
    finally:
        end()
        atexit.unregister(end)


class _Reader:
    """One process, seen from the one that started it."""

    def __init__(self, read: Read[Any], batches: Sequence[list[int]]) -> None:
        context = multiprocessing.get_context()
        try:
            self._connection, theirs = context.Pipe()
        except OSError as error:
            raise CannotStart(str(error)) from None
        self._process = context.Process(
            target=_read_all, args=(read, batches, theirs), name="segmenter-reader", daemon=True
        )
        try:
            self._process.start()
        except OSError as error:
            self._connection.close()
            raise CannotStart(str(error)) from None
        finally:
            theirs.close()
        with contextlib.suppress(OSError):
            for _ in range(BATCHES_AHEAD):
                self._allow_one()

    def take(self, is_stopping: Callable[[], bool]) -> tuple[Any, Bytes] | None:
        """Return the next batch of this process; None if the run is to stop."""
        try:
            while not self._connection.poll(_POLL_SECONDS):
                if is_stopping():
                    return None
            parts, size, is_file = self._connection.recv()
            if isinstance(parts, BaseException):
                raise parts
            memory = _receive(self._connection, size, is_file=is_file)
        except (EOFError, OSError):
            raise ReaderDied(self._last_words()) from None
        with contextlib.suppress(OSError):  # it has read all that it had to, and is gone
            self._allow_one()
        return parts, memory

    def end(self) -> None:
        """Kill the process: it ignores the gentler signals, and has nothing to lose."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _allow_one(self) -> None:
        self._connection.send_bytes(b"+")

    def _last_words(self) -> str:
        self._process.join(timeout=1)
        status = self._process.exitcode
        if status is None:
            return "its connection broke"
        if status == _NO_MEMORY:
            return "no memory left"
        return f"exit status {status}" if status >= 0 else f"signal {-status}"


def _read_all(read: Read[Any], batches: Sequence[list[int]], connection: Connection) -> None:
    """Read a batch, each time that another is allowed, in a reading process."""
    _become_reader()
    status = 0
    try:
        for positions in batches:
            connection.recv_bytes()
            _read_one(read, positions, connection)
    except (EOFError, OSError):  # nobody reads what is written here
        status = 1
    except MemoryError:
        status = _NO_MEMORY
    os._exit(status)


_NO_MEMORY = 12
"""Exit status of a process that had no memory left: ENOMEM."""


def _read_one(read: Read[Any], positions: list[int], connection: Connection) -> None:
    taken: list[_Memory] = []
    try:
        parts = read(positions, functools.partial(_take, taken))
    except MemoryError:
        raise
    except Exception as error:
        connection.send((_told(error), 0, False))
        return
    (memory,) = taken
    connection.send((parts, len(memory.content), memory.file is not None))
    if memory.file is None:
        connection.send_bytes(memory.content.numpy().data)
    else:
        reduction.send_handle(connection, memory.file, os.getppid())
        os.close(memory.file)


def _told(error: Exception) -> Exception:
    """Return an error as it can be handed over; one that is a bug brings its traceback."""
    if isinstance(error, UserError):
        return error
    return RuntimeError(f"in a process that reads images: {traceback.format_exc()}")


class _Memory(NamedTuple):
    """Memory for a batch, and the file that it is, if it is one."""

    content: Bytes
    file: int | None


def _take(taken: list[_Memory], size: int) -> Bytes:
    try:
        file = _memory_file(size)
        taken.append(_Memory(_mapped(file, size), file))
    except (OSError, AttributeError):  # no such system, or no such file allowed
        taken.append(_Memory(torch.empty(size, dtype=torch.uint8), None))
    return taken[0].content


def _mapped(file: int, size: int) -> Bytes:
    return torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)


def _memory_file(size: int) -> int:
    """Return a new file of this number of bytes that lies in memory alone.

    Raises:
        OSError, AttributeError: If the system has none.
    """
    file = os.memfd_create("segmenter-batch")
    try:
        os.truncate(file, size)
    except OSError:
        os.close(file)
        raise
    return file


def _receive(connection: Connection, size: int, *, is_file: bool) -> Bytes:
    if not is_file:
        return torch.frombuffer(bytearray(connection.recv_bytes(size)), dtype=torch.uint8)
    file = reduction.recv_handle(connection)
    try:
        return _mapped(file, size)
    finally:
        os.close(file)


def _become_reader() -> None:
    """One thread, no end by a signal (the parent ends its readers), no life after the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    end_with_parent()


def end_with_parent() -> None:
    """End this process, which `multiprocessing` started, as soon as its parent ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def shared_memory_note(needed: int) -> str | None:
    """Return the message where /dev/shm has less room than this many bytes; elsewhere None.

    Training goes without it. Others in the same container may not: NCCL, for one.
    """
    if sys.platform != "linux":
        return None
    try:
        is_open = os.access(_SHARED_MEMORY, os.W_OK)
        free = shutil.disk_usage(_SHARED_MEMORY).free if is_open else 0
    except OSError:
        free = 0
    if free >= needed:
        return None
    return (
        f"note: /dev/shm has {free / 2**20:.0f} MiB free, less than the {needed / 2**20:.0f} MiB "
        "of batches that are read ahead; they are handed over without it, and no bit changes "
        "(Docker gives it 64 MiB; `docker run --shm-size=2g` gives more)"
    )
