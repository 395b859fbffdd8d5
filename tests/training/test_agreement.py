"""What several processes do before the first step: one surveys the data, all build, all agree."""

import sys
from pathlib import Path

import pytest

from segmenter.training.launch import launch

_RUN = """
import sys
import torch
from segmenter.errors import EarlyExit, UserError
from segmenter.training.processes import init_processes

def refuse(why):
    raise UserError(why)

def act(processes, failing):
    found = processes.on_rank_zero(lambda: refuse("once") if failing == "once" else [1, 2])
    if failing == str(processes.rank) or failing == "all":
        refuse(f"rank {processes.rank}")
    return found + [processes.rank]

with init_processes(torch.device("cpu")) as processes:
    for failing in ("once", "1", "all", "none"):
        try:
            said = str(processes.on_all_ranks(lambda: act(processes, failing)))
        except (UserError, EarlyExit) as error:
            said = f"{type(error).__name__} {error}".strip()
        with open(f"{sys.argv[1]}.{processes.rank}", "a") as file:
            print(failing, said, sep=": ", file=file)
"""


@pytest.mark.slow
def test_what_fails_on_one_rank_is_said_once_and_ends_the_call_on_all(tmp_path: Path) -> None:
    assert launch([sys.executable, "-c", _RUN, str(tmp_path / "said")], 2) == 0
    said = [(tmp_path / f"said.{rank}").read_text().splitlines() for rank in (0, 1)]
    assert said[0] == [
        "once: UserError once",
        "1: PeerFailed",
        "all: UserError rank 0",
        "none: [1, 2, 0]",
    ]
    assert said[1] == [
        "once: PeerFailed",
        "1: UserError rank 1",
        "all: PeerFailed",
        "none: [1, 2, 1]",
    ]
