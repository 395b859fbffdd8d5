"""Graphs opened in ONNX Runtime."""

from typing import Any

import numpy as np
import torch
from numpy import ndarray

from segmenter.errors import UserError
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.graph_fit import Port, Run, check_ports, check_trial, last_line

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Of each kind of device, what computes there."""


_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


def onnx_session(graph: bytes, device: torch.device, facts: ExportFacts | None = None) -> Run:
    """Open an ONNX graph in ONNX Runtime, on a device and no other.

    Args:
        graph: The content of an ONNX file.
        device: Where to compute.
        facts: What the graph must be; none: not looked at.

    Raises:
        UserError: If ONNX Runtime cannot run it, or would run it elsewhere, or it is another graph.
    """
    import onnxruntime

    provider = PROVIDERS[device.type]
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
    """An input or output of a session."""
    kind = str(given.type)
    lengths = tuple(length if isinstance(length, int) else None for length in given.shape)
    return Port(frozenset({given.name}), _DTYPES.get(kind, kind), lengths)
