"""Graphs compiled by OpenVINO for this processor, and kept compiled."""

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.export.openvino_core import openvino_core
from segmenter.inference.cache import cached, forget

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


def compile_cached(key: str, graph: Callable[[], bytes], precision: str) -> Run:
    """Compile an ONNX graph for this processor, or take what was compiled before.

    Args:
        key: All that the graph depends on.
        graph: Makes it, where nothing is kept.
        precision: `float32` or `bfloat16`.
    """
    import openvino

    core = openvino_core()
    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    facts = ["openvino", openvino.__version__, processor, *capabilities, precision, key]
    full_key = json.dumps(facts)

    def compiled() -> bytes:
        model = core.read_model(io.BytesIO(graph()))
        return _exported(core.compile_model(model, "CPU", _settings(precision)))

    try:
        return _run(_imported(core, cached(full_key, compiled), precision))
    except RuntimeError:  # whole, but of no use to this OpenVINO: made again
        forget(full_key)
        return _run(_imported(core, cached(full_key, compiled), precision))


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
