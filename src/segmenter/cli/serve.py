"""Arguments of `segmenter serve`."""

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from segmenter.cli.status import DONE


def serve(
    model: str = "street",
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 8000,
    max_requests: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 16,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> int:
    """Label photos over HTTP: POST /segment, the Open Inference Protocol, and /metrics.

    Where the environment holds SEGMENTER_TOKEN, requests must bring it as a bearer token.

    Args:
        model: A bundled name, or a model file.
        host: Address to listen on; the default is reached from this machine alone.
        port: Port to listen on.
        max_requests: Requests that wait or are worked on at a time; more are told to come back.
        device: Where to compute.
        precision: Arithmetic.
    """
    from segmenter.commands.serve import run_service

    run_service(model, host, port, max_requests=max_requests, device=device, precision=precision)
    return DONE
