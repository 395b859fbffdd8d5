"""A training run in a process of its own that can be killed: `python -m tests.training.driver`.

Each update adds a line to a trace: the step, the positions of its crops and the loss, to the bit.
"""

import argparse
import json
import os
import signal
from pathlib import Path

import torch

from segmenter import commands
from segmenter.training import loop
from segmenter.training.signals import StopSignals
from segmenter.training.step import train_step
from tests.helpers.small_memory import fill_memory_above
from tests.helpers.waiting import wait_until


def read_trace(path: Path) -> dict[int, dict]:
    """What each step did; one that was done again must have done the same."""
    steps: dict[int, dict] = {}
    for line in path.read_text().splitlines():
        found = json.loads(line)
        assert steps.setdefault(found["step"], found) == found
    return steps


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--send", type=int, default=signal.SIGKILL)
    parser.add_argument("--at", type=int, default=0, help="send a signal during this update")
    parser.add_argument("--rank", default="0", help="in this process of the run")
    parser.add_argument("--to-parent", action="store_true", help="to what started it, instead")
    parser.add_argument("--full-above", type=int, help="more crops fill the memory")
    parser.add_argument("--nan", type=int, default=0, help="the loss is NaN in this update")
    given, arguments = parser.parse_known_args()
    rank = os.environ.get("RANK", "0")
    stop = StopSignals()

    def traced(model, optimizer, batch, recipe, loss, *others):
        positions = batch.positions.tolist()
        step = positions[0] // recipe.batch_size + 1
        if rank == given.rank and step == given.nan:
            for seen in (batch.images, batch.strong):
                seen.data = torch.full(seen.shape, float("nan"))
        if rank == given.rank and step == given.at:
            os.kill(os.getppid() if given.to_parent else os.getpid(), given.send)
            if given.to_parent:
                wait_until(lambda: stop.received is not None, 600)
        result = train_step(model, optimizer, batch, recipe, loss, *others)
        line = {"step": step, "positions": positions, "loss": result.loss.hex()}
        with given.trace.with_suffix(f".{rank}").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return result

    if given.full_above is not None and rank == given.rank:
        fill_memory_above(given.full_above)
    loop.train_step, loop.StopSignals = traced, lambda: stop
    torch.set_num_threads(1)
    commands.main(arguments)


if __name__ == "__main__":
    main()
