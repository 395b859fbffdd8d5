"""Graphs computed by OpenVINO on the CPU; what it compiled is kept."""

import io
import json
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.files.cache import cached
from segmenter.options import Compute
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.graph_fit import Port, Run, check_ports, check_trial, last_line
from segmenter.runtimes.graph_runtime import GraphRuntime
from segmenter.runtimes.runtime import Pixels
from segmenter.runtimes.sources import Source

if TYPE_CHECKING:
    from openvino import CompiledModel, Core

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_DTYPES = {"f32": "float32", "i32": "int32"}


class OpenVinoRuntime(GraphRuntime):
    """The graph on the CPU; what is compiled of a model file is cached."""

    name = "openvino"

    @property
    def version(self) -> str:
        """OpenVINO's version, without its build number."""
        import openvino

        return openvino.__version__.split("-")[0]

    @staticmethod
    def settle_precision(precision: str, device: torch.device) -> str:  # noqa: ARG004
        """Return bfloat16 for `auto` where the CPU has it natively, else float32."""
        return usable_precision(precision)

    @staticmethod
    def compile(
        graph: bytes,
        weights: bytes | None,
        compute: Compute,
        device: torch.device,  # noqa: ARG004
        facts: ExportFacts | None = None,
    ) -> Run:
        """Compile an ONNX graph, or OpenVINO's own with its weights."""
        return compile_graph(graph, weights, str(compute.precision), facts)

    def _open(self, source: Source) -> Run:
        self._lock = threading.Lock()  # one request at a time
        if source.exported is not None:
            return super()._open(source)
        return compile_cached(
            source.key(),
            source.with_graph,
            self.precision,
            source.max_bytes(),
            source.checked_facts,
        )

    def _computed(self, pixels: Pixels) -> ndarray:
        with self._lock:
            return super()._computed(pixels)


@cache
def openvino_core() -> "Core":
    """Return the one core of this process, which reads and compiles graphs; it is never let go.

    Its CPU plugin gives the thread that makes it a stack for signals, and when it ends puts back
    the stack that it found. Of two that end in the order in which they began, the second one puts
    back what the first has freed, and the next signal (a child process that ends) is the end of
    ours.
    """
    import openvino

    return openvino.Core()


def usable_precision(precision: str) -> str:
    """Return the precision that `auto` means: bfloat16 if the CPU has it natively.

    Raises:
        UserError: If bfloat16 is asked for and the CPU lacks it.
    """
    native = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and not native:
        raise UserError("this CPU has no bfloat16 arithmetic; use --precision float32")
    if precision == "auto":
        return "bfloat16" if native else "float32"
    return precision


def compile_graph(
    graph: bytes, weights: bytes | None, dtype: str, facts: ExportFacts | None = None
) -> Run:
    """Compile an ONNX graph, or OpenVINO's own with its weights.

    Args:
        graph: The content of the file.
        weights: Content of OpenVINO's second file; None: the graph is ONNX.
        dtype: Arithmetic, `float32` or `bfloat16`.
        facts: What the graph must be; None: not looked at.

    Raises:
        UserError: If OpenVINO cannot run it, or it is another graph.
    """
    return _run(_compiled(graph, weights, dtype, facts))


def _compiled(
    graph: bytes, weights: bytes | None, dtype: str, facts: ExportFacts | None
) -> "CompiledModel":
    """Compile a graph and check it; `compile_graph` documents the arguments."""
    core = openvino_core()
    try:
        if weights is None:
            model = core.read_model(io.BytesIO(graph))
        else:
            model = core.read_model(graph, weights)
        compiled = core.compile_model(model, "CPU", _settings(dtype))
    except (RuntimeError, MemoryError) as error:
        raise UserError(f"OpenVINO cannot run this graph: {last_line(error)}") from None
    if facts is not None:
        _check_ports(compiled, facts)
        check_trial(_run(compiled), facts)
    return compiled


WithGraph = Callable[[Callable[[bytes], bytes]], bytes]
"""Makes a graph, or takes one that is kept, and gives what a function makes of it."""


def compile_cached(
    key: str, with_graph: WithGraph, dtype: str, max_bytes: int, facts: ExportFacts | None
) -> Run:
    """Compile an ONNX graph for this CPU, or take what was compiled before.

    Args:
        key: All that the graph depends on.
        with_graph: Called where nothing compiled is kept.
        dtype: Arithmetic, `float32` or `bfloat16`.
        max_bytes: What is kept is not larger.
        facts: What the graph must be; None: not looked at.

    Raises:
        UserError: If OpenVINO cannot run it.
    """
    import openvino

    core = openvino_core()
    cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    parts = ["openvino", openvino.__version__, cpu, *capabilities, dtype, key]

    def compiled(graph: bytes) -> bytes:
        try:
            return _exported(_compiled(graph, None, dtype, facts))
        except UserError as error:
            raise UserError(f"{error}; use --runtime torch") from None

    def use(content: bytes) -> Run:
        found = _imported(core, content, dtype)
        if facts is not None:
            _check_ports(found, facts)
        return _run(found)

    return cached(json.dumps(parts), lambda: with_graph(compiled), use, max_bytes=max_bytes)


def _settings(dtype: str) -> dict[str, Any]:
    # OpenVINO's own default is bfloat16 wherever the CPU has it.
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }


def _exported(compiled: "CompiledModel") -> bytes:
    return compiled.export_model().getvalue()


def _imported(core: Any, content: bytes, dtype: str) -> "CompiledModel":
    return core.import_model(io.BytesIO(content), "CPU", _settings(dtype))


def _run(compiled: "CompiledModel") -> Run:
    return lambda given: compiled(given)[0]


def _check_ports(compiled: "CompiledModel", facts: ExportFacts) -> None:
    check_ports([*map(_port, compiled.inputs)], [*map(_port, compiled.outputs)], facts)


def _port(given: Any) -> Port:
    """Return an input or output of a compiled graph."""
    kind = str(given.element_type.get_type_name())
    shape = given.partial_shape
    lengths = () if shape.rank.is_dynamic else shape
    sizes = tuple(None if each.is_dynamic else each.get_length() for each in lengths)
    return Port(frozenset(given.names), _DTYPES.get(kind, kind), sizes)
