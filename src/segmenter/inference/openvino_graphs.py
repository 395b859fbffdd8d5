"""Graphs compiled by OpenVINO for this processor, and kept compiled."""

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.export.openvino_core import openvino_core
from segmenter.inference.cache import cached

if TYPE_CHECKING:
    from openvino import CompiledModel

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
Run = Callable[[ndarray], ndarray]
"""From the graph's one input to its one output."""


def version() -> str:
    """OpenVINO's version, without its build number."""
    import openvino

    return openvino.__version__.split("-")[0]


def usable_precision(precision: str) -> str:
    """The precision meant by `auto`: bfloat16 where the processor has it natively.

    Raises:
        UserError: If bfloat16 is asked for and the processor lacks it.
    """
    native = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and not native:
        raise UserError("this processor has no bfloat16 arithmetic; take --precision float32")
    if precision == "auto":
        return "bfloat16" if native else "float32"
    return precision


def compile_graph(graph: bytes, weights: bytes | None, precision: str) -> Run:
    """Compile an ONNX graph, or OpenVINO's own with its weights.

    Raises:
        UserError: If the graph is not one that OpenVINO can run.
    """
    core = openvino_core()
    try:
        if weights is None:
            model = core.read_model(io.BytesIO(graph))
        else:
            model = core.read_model(graph, weights)
        return _run(core.compile_model(model, "CPU", _settings(precision)))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"OpenVINO cannot run this file: {reason}") from None


WithGraph = Callable[[Callable[[bytes], bytes]], bytes]
"""Makes a graph, or takes one that is kept, and gives what a function makes of it."""


def compile_cached(key: str, with_graph: WithGraph, precision: str, max_bytes: int) -> Run:
    """Compile an ONNX graph for this processor, or take what was compiled before.

    Args:
        key: All that the graph depends on.
        with_graph: Called where nothing compiled is kept.
        precision: `float32` or `bfloat16`.
        max_bytes: What is compiled and larger is neither kept nor read.
    """
    import openvino

    core = openvino_core()
    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    facts = ["openvino", openvino.__version__, processor, *capabilities, precision, key]

    def compiled(graph: bytes) -> bytes:
        model = core.read_model(io.BytesIO(graph))
        return _exported(core.compile_model(model, "CPU", _settings(precision)))

    def use(content: bytes) -> Run:
        return _run(_imported(core, content, precision))

    return cached(json.dumps(facts), lambda: with_graph(compiled), use, max_bytes=max_bytes)


def _settings(precision: str) -> dict[str, Any]:
    # OpenVINO's own default is bfloat16 wherever the processor has it.
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def _exported(compiled: "CompiledModel") -> bytes:
    return compiled.export_model().getvalue()


def _imported(core: Any, content: bytes, precision: str) -> "CompiledModel":
    return core.import_model(io.BytesIO(content), "CPU", _settings(precision))


def _run(compiled: "CompiledModel") -> Run:
    return lambda given: compiled(given)[0]
