"""Graphs computed by ONNX Runtime, on the device that was asked for and no other."""

from typing import Any

import numpy as np
import torch
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.options import Compute
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.graph_fit import Port, Run, check_ports, check_trial, last_line
from segmenter.runtimes.graph_runtime import GraphRuntime

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Execution provider of each type of device."""
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


class OnnxRuntime(GraphRuntime):
    """The graph, in float32."""

    name = "onnxruntime"

    @property
    def version(self) -> str:
        """ONNX Runtime's version."""
        import onnxruntime

        return onnxruntime.__version__

    @staticmethod
    def settle_precision(precision: str, device: torch.device) -> str:  # noqa: ARG004
        """Return float32 for `auto`."""
        return "float32" if precision == "auto" else precision

    @staticmethod
    def compile(
        graph: bytes,
        weights: bytes | None,  # noqa: ARG004
        compute: Compute,  # noqa: ARG004
        device: torch.device,
        facts: ExportFacts | None = None,
    ) -> Run:
        """Open an ONNX graph."""
        return onnx_session(graph, device, facts)


def onnx_session(graph: bytes, device: torch.device, facts: ExportFacts | None = None) -> Run:
    """Open an ONNX graph in ONNX Runtime, on a device and no other.

    Args:
        graph: The content of an ONNX file.
        device: Where to compute.
        facts: What the graph must be; None: not looked at.

    Raises:
        UserError: If ONNX Runtime cannot run it, or would run it elsewhere, or it is another graph.
    """
    import onnxruntime

    provider = _PROVIDERS[device.type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    settings = {} if device.type == "cpu" else {"device_id": device.index or 0}
    providers = onnxruntime.get_available_providers()
    session = None
    if provider in providers:
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=[(provider, settings)])
        except Exception as error:  # its errors have no class in common
            raise UserError(f"ONNX Runtime cannot run this graph: {last_line(error)}") from None
        providers = session.get_providers()
    if session is None or providers[0] != provider:
        raise UserError(
            f"ONNX Runtime cannot compute on {device}: it has {', '.join(providers)}, not "
            f"{provider}; install the onnxruntime package for that device, or take "
            "--runtime torch"
        )
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if facts is not None:
        check_ports([*map(_port, inputs)], [*map(_port, outputs)], facts)

    def run(given: ndarray) -> ndarray:
        return np.asarray(session.run(None, {inputs[0].name: given})[0])

    if facts is not None:
        check_trial(run, facts)
    return run


def _port(given: Any) -> Port:
    """Return an input or output of a session."""
    kind = str(given.type)
    lengths = tuple(length if isinstance(length, int) else None for length in given.shape)
    return Port(frozenset({given.name}), _DTYPES.get(kind, kind), lengths)
