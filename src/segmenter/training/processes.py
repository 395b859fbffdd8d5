"""The processes of one run: the rank of this one, and the collective calls of all.

They are started by `segmenter train --devices N` or by torchrun; one process alone needs no group.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from jaxtyping import Int64, Shaped
from numpy import ndarray
from torch import Tensor, distributed

from segmenter.errors import EarlyExit, UserError

Found = TypeVar("Found")

_TIMEOUT = timedelta(minutes=30)
"""For the slowest of them: reading all masks, or a checkpoint on a slow disk."""


class PeerFailed(EarlyExit):
    """Another process of the run failed and reports why; this one ends silently."""

    exit_status = 2


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them."""

    rank: int = 0
    """Number of this process, from 0; rank 0 writes files and shows messages."""
    count: int = 1
    local_rank: int = 0
    """Number of this process on its machine, which is the number of its GPU."""
    local_count: int = 1
    """Processes on this machine."""

    @property
    def is_rank_zero(self) -> bool:
        """Return whether this process writes files and shows messages."""
        return self.rank == 0

    def sum(self, value: int | float) -> float:
        """Return a number, summed over the processes."""
        return float(self.all_reduce(torch.tensor(value, dtype=torch.float64)))

    def all_reduce(self, values: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
        """Return a tensor on the CPU, summed over the processes."""
        total = values.clone()
        if self.count > 1:
            distributed.all_reduce(total)
        return total

    def sum_counts(self, counts: Int64[ndarray, "..."]) -> Int64[ndarray, "..."]:
        """Return whole numbers, summed over the processes."""
        return self.all_reduce(torch.from_numpy(counts)).numpy()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return self.sum(flag) > 0

    def on_rank_zero(self, action: Callable[[], Found]) -> Found:
        """Call `action` on rank 0 alone, and return its result on all ranks.

        Raises:
            UserError: On rank 0, if the action raised it.
            PeerFailed: On all other ranks in that case.
        """
        if self.count == 1:
            return action()
        outcome: list[Found | UserError | None] = [None]
        if self.is_rank_zero:
            try:
                outcome = [action()]
            except UserError as error:
                outcome = [error]
        distributed.broadcast_object_list(outcome)
        (found,) = outcome
        if isinstance(found, UserError):
            raise found if self.is_rank_zero else PeerFailed
        return found  # pyright: ignore[reportReturnType]

    def on_all_ranks(self, action: Callable[[], Found]) -> Found:
        """Call `action` on every rank, and return only if it succeeded on all of them.

        An action may begin with `on_rank_zero`, and makes no other collective call: a rank on which
        it fails is not there to answer.

        Raises:
            UserError: On the first rank on which the action raised it.
            PeerFailed: On all other ranks in that case.
        """
        if self.count == 1:
            return action()
        found, error = None, None
        try:
            found = action()
        except (UserError, PeerFailed) as raised:
            error = raised
        failed = torch.zeros(self.count, dtype=torch.int64)
        failed[self.rank] = isinstance(error, UserError)
        failed = self.all_reduce(failed).tolist()
        if any(failed):
            raise error if error and failed.index(1) == self.rank else PeerFailed
        return found  # pyright: ignore[reportReturnType]


SINGLE_PROCESS = Processes()
"""A run of one process."""


@contextlib.contextmanager
def init_processes(device: torch.device) -> Iterator[Processes]:
    """Connect the processes that the environment names; without any, this one is alone.

    Args:
        device: Where this process computes: NCCL connects GPUs, gloo everything else.
    """
    processes = processes_from_env()
    if processes.count == 1:
        yield processes
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()


def processes_from_env() -> Processes:
    """Read the processes of this run from the environment (torchrun's variables).

    Raises:
        UserError: If only some of the variables are set.
    """
    if "WORLD_SIZE" not in os.environ:
        return SINGLE_PROCESS
    try:
        rank, count, local_rank = (
            int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        )
    except (KeyError, ValueError) as error:
        raise UserError(
            "WORLD_SIZE is set in the environment, but RANK and LOCAL_RANK are not whole numbers "
            f"beside it ({error}); start through torchrun, or unset WORLD_SIZE"
        ) from None
    return Processes(rank, count, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", count)))


def check_division(batch_size: int, parts: int, processes: int) -> None:
    """Refuse a batch that cannot be divided evenly.

    Raises:
        UserError: If the processes are more than the crops, or the batch does not divide.
    """
    if processes > batch_size:
        raise UserError(
            f"{processes} processes are more than the {batch_size} crops of a batch; start fewer, "
            "or raise batch_size"
        )
    if batch_size % (processes * parts):
        raise UserError(
            f"batch_size ({batch_size}) must be a multiple of processes x accumulate "
            f"({processes} x {parts}); change one of them"
        )
