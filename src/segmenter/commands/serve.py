"""Arguments of `segmenter serve`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from segmenter.commands.values import DONE, Precision, RuntimeName


def serve(
    model: str = "street",
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 8000,
    max_requests: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 16,
    device: str = "cpu",
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
) -> int:
    """Label images over HTTP: POST /segment, the Open Inference Protocol, and /metrics.

    Where the environment holds SEGMENTER_TOKEN, requests must bring it as a bearer token.

    Args:
        model: A bundled name, a model file, hf:owner/name, or an exported one.
        host: Address to listen on; the default is reached from this machine alone.
        port: Port to listen on.
        max_requests: Requests that wait or are worked on at a time; more are told to come back.
        device: Where to compute.
        runtime: What computes; auto: the fastest that is installed.
        precision: Arithmetic; float32 has the published numerics.
    """
    from segmenter.extras.serving.start_service import run_service

    run_service(
        model,
        host,
        port,
        max_requests=max_requests,
        device=device,
        runtime=runtime,
        precision=precision,
    )
    return DONE
