"""Where torch can compute, and in what arithmetic it is fast there."""

import torch

from segmenter.errors import UserError

_CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Names of the capability on x86 and ARM CPUs."""


def usable_device(device: str | torch.device | None) -> torch.device:
    """Return the device, the CPU if none is named, after making sure that tensors can live on it.

    Raises:
        UserError: If they cannot.
    """
    try:
        place = torch.empty(0, device="cpu" if device is None else device).device
        if place.type == "meta":
            raise RuntimeError("it holds no numbers")
        return place
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device {str(device)!r} cannot be used: {reason}") from None


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices in bfloat16 natively.

    Where it does not, torch emulates bfloat16, on CPUs many times slower than float32
    (docs/training.md, "Precision"). Returns False for devices other than CPUs and CUDA's.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # cards of one machine may differ
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in _CPU_BFLOAT16)
