"""Limit the crops that a process computes at once: fewer where they do not fit into memory.

A batch is one update however it is split (`training/losses.py`), so a step that runs out of memory
is computed again in parts of half the size, and the run continues unchanged.
"""

from collections.abc import Callable
from typing import TypeVar

import torch

from segmenter.errors import UserError
from segmenter.runtimes.devices import free_memory, is_out_of_memory
from segmenter.training.processes import SINGLE_PROCESS, PeerFailed, Processes

Found = TypeVar("Found")

_NUM_TRIALS = 2
"""Steps that several processes try before they exchange gradients. After the first, the optimizer
has its own memory."""


class CropLimit:
    """The most crops that a process computes at once, which falls where memory is full.

    Args:
        most: The limit so far; 0: there is none.
    """

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self.say: Callable[[str], None] = lambda _: None
        """Shows a line when the limit falls."""
        self._num_trials_left = _NUM_TRIALS

    def part_size(self, num_crops: int, accumulate: int) -> int:
        """Return how many of a process's crops of a batch are one part."""
        size = -(-num_crops // accumulate)
        return min(size, self.most) if self.most else size

    def fit(
        self,
        compute: Callable[[bool], Found],
        size: Callable[[], int],
        device: torch.device,
        processes: Processes,
        *,
        is_sharded: bool,
    ) -> Found:
        """Compute the gradients of a batch, in smaller parts if memory is full.

        Processes that wait for each other within a backward pass cannot leave it, so several try
        the first steps without an exchange of gradients, and agree.

        Args:
            compute: Computes the gradients anew, in parts of at most `size`; told whether processes
                exchange them.
            size: Crops in a part now.
            device: Where this process computes.
            processes: All of them call this.
            is_sharded: Whether weights are exchanged too: then nothing can be tried.

        Raises:
            UserError: If one crop alone is too large, or memory is full where it is too late.
            PeerFailed: On the other processes, then.
        """
        if processes.count == 1:
            return self.fit_alone(lambda: compute(True), size, device)
        while self._num_trials_left and not is_sharded:
            is_full = self._attempt(lambda: compute(False), device) is None
            if processes.any(is_full):
                self._halve(size(), device, processes)
            else:
                self._num_trials_left -= 1
                break
        result = self._attempt(lambda: compute(True), device)
        if result is None:
            raise UserError(
                f"{size()} crops at once do not fit into the memory of {device}, and the other "
                "processes wait for them; continue with --resume and a higher accumulate, with "
                "--allow-config-change"
            )
        return result[0]

    def fit_alone(
        self, compute: Callable[[], Found], size: Callable[[], int], device: torch.device
    ) -> Found:
        """Compute what no other process waits for, in smaller parts if memory is full.

        Args:
            compute: Computes it anew, in parts of at most `size`.
            size: Crops in a part now.
            device: Where this process computes.

        Raises:
            UserError: If one crop alone is too large.
        """
        while True:
            result = self._attempt(compute, device)
            if result:
                return result[0]
            self._halve(size(), device, SINGLE_PROCESS)

    def agree(self, processes: Processes) -> None:
        """Take the smallest limit of all processes: sharded ones compute equally many parts."""
        limits = torch.zeros(processes.count, dtype=torch.int64)
        limits[processes.rank] = self.most
        found = processes.all_reduce(limits).tolist()
        self.most = min((most for most in found if most), default=0)

    def update(self, step: Callable[[], object], device: torch.device) -> None:
        """Let the optimizer take its step.

        Raises:
            UserError: If memory is full, which smaller parts would not change.
        """
        if self._attempt(step, device) is None:
            raise UserError(
                "weights, gradients and the optimizer's state do not fit into the memory of "
                f"{device}; take a smaller encoder, freeze blocks (optimizer.frozen_blocks), or "
                "share the weights out over several GPUs with --fsdp"
            )

    @staticmethod
    def _attempt(compute: Callable[[], Found], device: torch.device) -> tuple[Found] | None:
        """Return what was computed; None if memory is full."""
        try:
            return (compute(),)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory(device)
        return None

    def _halve(self, size: int, device: torch.device, processes: Processes) -> None:
        """Lower the limit.

        Raises:
            UserError: If there is nothing left to halve.
            PeerFailed: On the other processes, then.
        """
        if size == 1:
            if not processes.is_rank_zero:
                raise PeerFailed
            raise UserError(
                f"one crop does not fit into the memory of {device}; lower augment.crop_size, set "
                "precision to bfloat16, or take a smaller encoder"
            )
        self.most = -(-size // 2)
        self.say(
            f"{size} crops at once do not fit into the memory of {device}; training continues with "
            f"{self.most} at once, and the batch stays the same (as with a higher accumulate)"
        )
