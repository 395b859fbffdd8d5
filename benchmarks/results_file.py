"""Files of `results/`: the numbers, and the run that they are from."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[1]


def load(path: Path, otherwise: Any) -> Any:
    """Return the numbers of a file; `otherwise` if it is not there."""
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else otherwise


def save(path: Path, results: Any, precision: str, ran: dict[str, str] | None = None) -> None:
    """Write numbers, with command, commit, date and machine.

    Args:
        path: The file to write.
        results: The numbers.
        precision: Arithmetic of the run.
        ran: Date and machine of the run, if not now and here.
    """
    run = {
        "command": shlex.join(["python", *map(_shown, sys.argv)]),
        "commit": _commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": _machine(),
        "precision": precision,
        **(ran or {}),
    }
    text = json.dumps({"run": run, "results": results}, indent=1, ensure_ascii=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")


def _shown(argument: str) -> str:
    """Return an argument as it reads in the repository's root."""
    return argument.removeprefix(f"{_REPOSITORY}{os.sep}")


def _commit() -> str:
    """Return the short name of the commit that is checked out, marked if its code is changed."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    is_changed = git("status", "--porcelain", "--", "src", "benchmarks")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if is_changed else "")


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0] if models else platform.processor()}"
