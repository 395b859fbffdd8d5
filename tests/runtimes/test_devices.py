"""The device is found, and what it is fast in is asked of torch."""

import numpy as np
import pytest
import torch

from segmenter import UserError
from segmenter.runtimes import devices
from segmenter.runtimes.devices import device_line, has_bfloat16, is_out_of_memory, usable_device
from tests.helpers.skips import NOT_HERE

CPU = torch.device("cpu")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Types of device that this machine seems to have; a test adds to them."""
    kinds: set[str] = set()
    monkeypatch.setattr(devices, "_is_there", lambda kind: kind in kinds)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    monkeypatch.setattr(devices, "_try", lambda kind: torch.device(kind, 0))
    return kinds


def test_auto_is_cuda_then_mps_then_the_cpu_and_says_why(found: set[str]) -> None:
    assert usable_device() == usable_device(None) == CPU
    assert device_line(CPU) == "device: cpu (no CUDA or MPS device found)"
    found.add("mps")
    assert usable_device("auto") == torch.device("mps", 0)
    assert device_line(usable_device()) == "device: mps:0 (found; --device cpu forces the CPU)"
    found.add("cuda")
    assert usable_device("auto") == torch.device("cuda", 0)
    line = "device: cuda:0, NVIDIA H100 (found; --device cpu forces the CPU)"
    assert device_line(usable_device()) == line


def test_a_device_that_is_named_is_taken_though_another_is_found(found: set[str]) -> None:
    found.add("cuda")
    assert usable_device("cpu") == CPU
    assert device_line(CPU, "cpu") == "device: cpu (as asked)"
    with pytest.raises(UserError, match="device 'cuda:99' cannot be used"):
        usable_device("cuda:99")


def test_a_runtime_that_stays_on_the_cpu_says_that_a_gpu_is_found(found: set[str]) -> None:
    found.add("cuda")
    line = "device: cpu (openvino computes there; a GPU is found)"
    assert device_line(CPU, "auto", "openvino") == line


def test_a_card_that_fails_is_named_and_the_next_device_taken(
    found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(kind: str) -> torch.device:
        raise RuntimeError(f"{kind}: no kernel image is available\nand more")

    found.add("cuda")
    monkeypatch.setattr(devices, "_try", fail)
    assert usable_device() == CPU
    reason = "cuda is there, but cannot be used: cuda: no kernel image is available"
    assert device_line(CPU) == f"device: cpu ({reason})"


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."), True),
        (RuntimeError("shapes (2, 3) and (4, 5) do not match"), False),
        (ValueError(), False),
    ],
)
def test_a_full_memory_is_told_from_other_errors(error: Exception, is_full: bool) -> None:
    assert is_out_of_memory(error) is is_full


def test_the_allocator_of_the_cpu_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    with pytest.raises(MemoryError) as raised_by_numpy:
        np.empty(1 << 62, dtype=np.uint8)
    assert is_out_of_memory(raised_by_numpy.value)


@pytest.mark.parametrize(
    ("capabilities", "found"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_a_processor_has_bfloat16_if_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], found: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16(torch.device("cpu")) is found


def test_an_older_torch_is_asked_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for found in (True, False):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda found=found: found, raising=False)
        assert has_bfloat16(torch.device("cpu")) is found


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason=f"{NOT_HERE}: torch of 2.11")
def test_torch_answers_by_these_names() -> None:
    known = torch.cpu.get_capabilities()
    names = {"x86_64": {"avx512_bf16", "amx_bf16"}, "aarch64": {"bf16"}}
    for architecture, wanted in names.items():
        if known["architecture"] == architecture:
            assert wanted <= known.keys()


def test_of_other_devices_nothing_is_assumed() -> None:
    assert not has_bfloat16(torch.device("mps"))
