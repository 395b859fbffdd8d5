"""Graphs opened in ONNX Runtime."""

import numpy as np
import torch

from segmenter.errors import UserError
from segmenter.inference.openvino_graphs import Run

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Of each kind of device, what computes there."""


def onnx_session(graph: bytes, device: torch.device) -> Run:
    """Open an ONNX graph in ONNX Runtime, on a device and no other.

    Raises:
        UserError: If ONNX Runtime cannot run it, or would run it elsewhere.
    """
    import onnxruntime

    provider = PROVIDERS[device.type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    settings = {} if device.type == "cpu" else {"device_id": device.index or 0}
    providers = onnxruntime.get_available_providers()
    session = None
    if provider in providers:
        session = onnxruntime.InferenceSession(graph, options, providers=[(provider, settings)])
        providers = session.get_providers()
    if session is None or providers[0] != provider:
        raise UserError(
            f"ONNX Runtime cannot compute on {device}: it has {', '.join(providers)}, not "
            f"{provider}; install the onnxruntime package for that device, or take "
            "--runtime torch"
        )
    name = session.get_inputs()[0].name
    return lambda given: np.asarray(session.run(None, {name: given})[0])
