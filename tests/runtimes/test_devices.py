"""What a device is fast in is asked of torch."""

import pytest
import torch

from segmenter.runtimes.devices import has_bfloat16


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
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bfloat16(torch.device("cpu")) is found


def test_torch_answers_by_these_names() -> None:
    known = torch.cpu.get_capabilities()
    names = {"x86_64": {"avx512_bf16", "amx_bf16"}, "aarch64": {"bf16"}}
    for architecture, wanted in names.items():
        if known["architecture"] == architecture:
            assert wanted <= known.keys()


def test_of_other_devices_nothing_is_assumed() -> None:
    assert not has_bfloat16(torch.device("mps"))
