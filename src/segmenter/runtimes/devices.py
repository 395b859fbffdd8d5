"""Devices of torch: the usable one, its fast arithmetic, and errors of full memory."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from segmenter.errors import UserError
from segmenter.options import AUTO_DEVICE

_MAX_REASON = 120
"""Characters of what torch says about a device."""
_CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Names of the capability on x86 and ARM CPUs."""
_OUT_OF_MEMORY = (
    "out of memory",  # MPS, and CUDA where torch has no class for it
    "can't allocate memory",  # the CPU's allocator
    "not enough memory: you tried to allocate",  # the same on Windows
    "_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
    "Failed to allocate memory",  # ONNX Runtime
    "Insufficient memory",  # OpenCV
)


def usable_device(device: str | torch.device | None = AUTO_DEVICE) -> torch.device:
    """Return the device named, or the one that `auto` finds, on which tensors can live.

    Args:
        device: A name or a device of torch; `auto` or None: CUDA, then MPS, then the CPU.

    Raises:
        UserError: If the device named is not there.
    """
    if device is None or device == AUTO_DEVICE:
        return _find_device()[0]
    reason = f"there is: {', '.join((AUTO_DEVICE, *_devices_here()))}"
    try:
        named = torch.device(device)
        if named.type == "cpu" and not named.index:
            return torch.device("cpu")
        if not _is_absent(named):
            return torch.empty(0, device=named).device
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        if str(device).partition(":")[0] in ("cuda", "mps"):  # a card that fails
            reason = f"{_first_line(error)[:_MAX_REASON]}; {reason}"
    raise UserError(f"device {str(device)!r} cannot be used; {reason}")


def _is_absent(device: torch.device) -> bool:
    """Return whether no tensor can live there; of kinds that are not known here, torch says it."""
    if device.type in ("cuda", "mps"):
        return not _is_there(device.type) or (device.index or 0) >= _count(device.type)
    return device.type in ("cpu", "meta")  # a second CPU; numbers are not kept


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def _devices_here() -> list[str]:
    """Return the names of the devices of this machine."""
    gpus = [kind for kind in ("cuda", "mps") if _is_there(kind)]
    return ["cpu", *(f"{kind}:{index}" for kind in gpus for index in range(_count(kind)))]


def device_line(
    device: torch.device,
    asked: str | torch.device | None = AUTO_DEVICE,
    runtime: str | None = None,
) -> str:
    """Return the line that says what computes and why: `device: cuda:0, NVIDIA H100 (found; ...)`.

    Args:
        device: Where is computed.
        asked: What `usable_device` was given for it.
        runtime: Name of the runtime, which may compute on the CPU alone.
    """
    why = "as asked"
    if asked is None or asked == AUTO_DEVICE:
        found, reason = _find_device()
        elsewhere = f"{runtime or 'the model'} computes there; a GPU is found"
        why = reason if found.type == device.type else elsewhere
    name = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"device: {device}{name} ({why})"


def _find_device() -> tuple[torch.device, str]:
    """Return the device that `auto` means, and why it is this one."""
    reasons = []
    for kind in ("cuda", "mps"):
        if not _is_there(kind):
            continue
        try:
            return _try(kind), "found; --device cpu forces the CPU"
        except (RuntimeError, AssertionError) as error:
            reasons.append(f"{kind} is there, but cannot be used: {_first_line(error)}")
    return torch.device("cpu"), "; ".join(reasons) or "no CUDA or MPS device found"


def _is_there(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def _try(kind: str) -> torch.device:
    """Compute something; a card that is too old, or that another process has for itself, fails."""
    return (torch.zeros(1, device=kind) + 1).device


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices in bfloat16 natively.

    Where it does not, torch emulates bfloat16, on CPUs many times slower than float32
    (docs/how-to/training.md, "Precision"). Returns False for devices other than CPUs and CUDA's.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # cards of one machine may differ
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = _cpu_capabilities()
    return any(capabilities.get(name) for name in _CPU_BFLOAT16)


def _cpu_capabilities() -> Mapping[str, Any]:
    """Return what the CPU has by torch's names; of torch before 2.11 what is asked of it here."""
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    older = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
    return {name: getattr(torch.cpu, asked, bool)() for name, asked in older.items()}


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Inside, convolutions in float32 round as float32 does; cuDNN would take TensorFloat-32."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, Exception) and any(each in str(error) for each in _OUT_OF_MEMORY)


def free_memory(device: torch.device) -> None:
    """Give back what torch keeps for later; call it outside of the `except` that met the error."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
