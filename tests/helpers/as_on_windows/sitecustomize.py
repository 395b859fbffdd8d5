"""With this folder on PYTHONPATH, the package sees Python as it is on Windows.

Inside `segmenter`, modules such as `fcntl` cannot be imported, and `os` and `signal` lack what they
lack there; other libraries see this system. In the whole process nothing can fork, new processes
are spawned, and a file that is open or mapped can be neither replaced nor removed.
"""

import builtins
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
_OS_NAMES = """
    O_CLOEXEC O_DIRECTORY O_DSYNC O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC O_TMPFILE chown chroot
    confstr ctermid fchmod fchown fork forkpty fpathconf getegid geteuid getgid getgroups getloadavg
    getpgid getpgrp getpriority getresuid getsid getuid initgroups killpg lchown lockf major makedev
    memfd_create minor mkfifo mknod nice openpty pathconf pidfd_open pipe2 posix_fadvise
    posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv sched_getaffinity
    sched_setaffinity sched_yield sendfile setegid seteuid setgid setpgid setpriority setsid setuid
    statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4 waitid writev
    """
_OS = frozenset(_OS_NAMES.split())
_SIGNALS = frozenset({"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"})
_SIGNAL_NAMES = """
    alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending
    sigwait sigwaitinfo ITIMER_PROF ITIMER_REAL ITIMER_VIRTUAL SIG_BLOCK SIG_SETMASK SIG_UNBLOCK
    sigtimedwait
    """
_SIGNAL_FUNCTIONS = frozenset(_SIGNAL_NAMES.split())


def _view(module: ModuleType, is_hidden: Callable[[str], bool], **changes: object) -> ModuleType:
    """Return a copy of a module without some of its names."""
    view = ModuleType(module.__name__, module.__doc__)
    names = {name: value for name, value in vars(module).items() if not is_hidden(name)}
    vars(view).update(names | changes)
    return view


def _is_hidden_signal(name: str) -> bool:
    is_number = name.startswith("SIG") and not name.startswith("SIG_")
    return name in _SIGNAL_FUNCTIONS or (is_number and name not in _SIGNALS)


def _refuse_if_open(path: Any) -> None:
    """Raise what Windows raises if this process has a file open or mapped."""
    if isinstance(path, int):
        return
    real = os.path.realpath(path)
    handles = Path("/proc/self/fd")
    if not Path(real).is_file() or not handles.exists():
        return
    opened = set()
    for handle in handles.iterdir():
        try:
            opened.add(str(handle.readlink()))
        except OSError:  # that of the listing itself
            continue
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    if real in opened or any(line.endswith(real) for line in mapped.splitlines()):
        raise PermissionError(13, "The process cannot access the file: it is open", str(path))


def _careful(function: Callable[..., None], num_paths: int) -> Callable[..., None]:
    """Make a function of `os` refuse files that are open."""

    def call(*paths: Any, **options: Any) -> None:
        for path in paths[:num_paths]:
            if options.get("dir_fd") is None:
                _refuse_if_open(path)
        function(*paths, **options)

    return call


def _no_fork() -> int:
    raise OSError("this system does not fork")


os.replace, os.rename = _careful(os.replace, 2), _careful(os.rename, 2)
os.remove, os.unlink = _careful(os.remove, 1), _careful(os.unlink, 1)
os.fork = _no_fork
multiprocessing.set_start_method("spawn")
sys.modules["resource"] = None  # type: ignore[assignment]  # `find_spec` finds none either
_VIEWS = {
    "os": _view(os, _OS.__contains__, name="nt"),
    "signal": _view(signal, _is_hidden_signal),
}
_import = builtins.__import__


def _import_as_on_windows(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    module = _import(name, globals, locals, fromlist, level)
    if str((globals or {}).get("__name__", "")).partition(".")[0] != "segmenter" or level:
        return module
    if name in _MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _VIEWS.get(name, module)


builtins.__import__ = _import_as_on_windows
