"""Start the processes of a run on this machine, and end them together.

Each process finds in its environment what torchrun would put there. torchrun itself, and
torch.multiprocessing, would not do: torchrun ends with a table and status 1 whatever happened;
torch.multiprocessing passes no signal on, takes an interrupt at the start for success, and sends
SIGTERM, which means "save and stop" here, to processes whose peer has just failed. Here the failing
process says in one line what is wrong, the others may end by themselves, and the exit status is
that of the process that failed first.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from segmenter.errors import UserError
from segmenter.options import AUTO_DEVICE, Execution
from segmenter.recipe import Recipe
from segmenter.runtimes.devices import usable_device
from segmenter.training.processes import Processes

_PATIENCE_SECONDS = 30.0
"""For the other processes to save and end, after the first has ended; then they are killed."""
_POLL_SECONDS = 0.05
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""Variable of the environment that cuBLAS reads when a GPU is first used."""


def device_name(device: str, num_processes: int) -> str:
    """Return what the processes on this machine compute on: the device asked for, or GPUs if any.

    One process of `auto` looks for a device itself.

    Raises:
        UserError: If several processes would share one GPU, or there are too few.
    """
    if num_processes == 1:
        return device
    gpus_or_cpu = "cuda" if torch.cuda.is_available() else "cpu"
    name = gpus_or_cpu if device == AUTO_DEVICE else device
    if name == "cpu":
        return name
    if name != "cuda":
        raise UserError(
            f"{num_processes} processes cannot share the device {name!r}; give --device cuda, one "
            "GPU for each, or --device cpu"
        )
    if torch.cuda.device_count() < num_processes:
        raise UserError(
            f"{num_processes} processes need a GPU each, but {torch.cuda.device_count()} are here; "
            "give a smaller --devices, or --device cpu"
        )
    return name


def check_devices(devices: int | None, processes: Processes) -> None:
    """Reject `--devices` that no run can have, or that differs from what torchrun has started.

    Raises:
        UserError: In these cases.
    """
    if devices is None:
        return
    if devices < 1:
        raise UserError(f"--devices is {devices}; a run needs at least 1")
    if processes.count > 1 and devices != processes.local_count:
        raise UserError(
            f"--devices is {devices}, but {processes.local_count} processes were started on this "
            "machine; omit --devices"
        )


def process_device(device: str, processes: Processes) -> torch.device:
    """Return where this process computes.

    Raises:
        UserError: If that device does not exist.
    """
    name = device_name(device, processes.local_count)
    if name != "cuda" or processes.count == 1:
        return usable_device(name)
    gpu = usable_device(f"cuda:{processes.local_rank}")
    torch.cuda.set_device(gpu)
    return gpu


def check_execution(execution: Execution, recipe: Recipe, num_processes: int) -> None:
    """Reject options that exclude each other, or that need what this machine lacks.

    Raises:
        UserError: In these cases.
    """
    if execution.fsdp and num_processes == 1:
        raise UserError("--fsdp is for several processes; give --devices, or omit it")
    if execution.fsdp and recipe.precision == "float16":
        raise UserError("--fsdp does not scale float16's gradients; set precision to bfloat16")
    if execution.fsdp and recipe.loss.teacher and recipe.loss.teacher.is_average:
        raise UserError(
            "--fsdp keeps a part of the average in each process, and loss.teacher.model: average "
            "needs all of it; omit --fsdp"
        )
    if execution.fsdp and execution.compile:
        raise UserError("--fsdp and --compile do not go together; omit one")
    if not execution.compile:
        return
    compilers = (os.environ.get("CXX"), "c++", "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        raise UserError(
            "--compile needs a C++ compiler, and neither CXX nor c++, g++ or clang++ is one here; "
            "install g++, or omit --compile"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise UserError(
            f"--compile needs Python's headers, but {header} is missing; install them (Debian: "
            "python3-dev), or omit --compile"
        )


@contextlib.contextmanager
def exact_algorithms(wanted: bool) -> Iterator[None]:
    """Have torch use algorithms that give the same bits each time, and warn of any other."""
    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    setting = os.environ.get(_CUBLAS)
    if wanted:
        os.environ.setdefault(_CUBLAS, ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned_only)
        if wanted and setting is None:
            os.environ.pop(_CUBLAS, None)


def launch(command: Sequence[str], count: int) -> int:
    """Run a command in several processes that find each other; signals are passed on to all.

    Returns:
        0, or the exit status of the process that first ended with another one.
    """
    has_libuv = sys.platform != "win32"  # torch's wheels for Windows were built without it
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, use_libuv=has_libuv)
    threads = str(max((os.cpu_count() or 1) // count, 1))
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store above is the meeting point
        "USE_LIBUV": str(int(has_libuv)),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
    }
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
        )
        for rank in range(count)
    ]
    try:
        with _passing_signals_on(processes):
            return _wait(processes)
    finally:
        for process in processes:
            process.kill()


def _wait(processes: Sequence[subprocess.Popen]) -> int:
    """Wait for all; once one has failed, only for a while, as the others may wait for it."""
    failed, deadline = 0, float("inf")
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if not failed:
            failed = _first_failure(processes)
            deadline = time.monotonic() + _PATIENCE_SECONDS if failed else deadline
        time.sleep(_POLL_SECONDS)
    return failed or _first_failure(processes)


def _first_failure(processes: Sequence[subprocess.Popen]) -> int:
    statuses = [process.returncode or 0 for process in processes]
    status = next((status for status in statuses if status), 0)
    return 128 - status if status < 0 else status


@contextlib.contextmanager
def _passing_signals_on(processes: Sequence[subprocess.Popen]) -> Iterator[None]:
    def pass_on(number: int, _frame: object) -> None:
        for process in processes:
            # Windows sends no interrupt to a process: a console interrupts all that run in it.
            with contextlib.suppress(ValueError):
                process.send_signal(number)

    is_main = threading.current_thread() is threading.main_thread()  # which alone receives signals
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
