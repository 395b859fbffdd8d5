"""Measure memory, so that work that cannot fit is refused before it starts."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNKNOWN = 1 << 62


def total_memory() -> int:
    """Return the bytes that this process can ever have: machine, container, and own limit."""
    limits = [_UNKNOWN]
    with suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _CGROUPS:
        with suppress(ValueError, OSError):  # "max" is not a number
            limits.append(int(Path(path).read_text()))
    with suppress(ImportError, ValueError, OSError):
        import resource

        limits.append(resource.getrlimit(resource.RLIMIT_AS)[0])
    return min(limit for limit in limits if limit > 0)  # -1: no limit


def peak_memory() -> int | None:
    """Return the most bytes that this process has held at a time; None where no one counts it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    with suppress(OSError, ValueError):  # of Linux; ru_maxrss would begin with the parent's
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].partition("kB")[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def at_most(num_bytes: int) -> Iterator[None]:
    """Limit the further memory of this process, in bytes, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before, most = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, ValueError):
        yield
        return
    wanted = pages * resource.getpagesize() + num_bytes
    lower = [wanted, *(each for each in (before, most) if each != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(lower), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def gigabytes(num_bytes: int) -> str:
    """Such as `12.3 GB`."""
    return f"{num_bytes / 1e9:,.1f} GB"
