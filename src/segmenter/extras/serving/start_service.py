"""`segmenter serve`: a model behind HTTP."""

import socket

from segmenter.errors import UserError
from segmenter.files.optional import missing, require
from segmenter.options import Compute, ServedLabels, Sizes

_POSIX_ALONE = ("resource", "fcntl")
"""Modules of Python's own that Windows does not have."""
_LIBRARIES = ("prometheus_client", "python_multipart", "starlette", "uvicorn")


def run_service(
    model: str,
    host: str,
    port: int,
    *,
    max_requests: int,
    sizes: Sizes,
    compute: Compute,
    labels: ServedLabels = ServedLabels(),  # noqa: B008 - it is frozen
) -> None:
    """Serve a model until the process gets a signal to stop.

    Raises:
        UserError: If the extra is missing, the model cannot be used, or the address is taken.
    """
    require_service("serve")
    from segmenter.checkpoints.license import terms_note
    from segmenter.extras.serving.app import open_service
    from segmenter.extras.serving.server import run_server
    from segmenter.extras.serving.service_settings import (
        TOKEN_VARIABLE,
        ServiceSettings,
        read_token,
    )

    settings = ServiceSettings(
        token=read_token(),
        is_local=_is_loopback(host),
        max_requests=max_requests,
    )
    service = open_service(model, settings, compute, labels=labels, sizes=sizes)
    check_address(host, port)
    if settings.token is None and not _is_loopback(host):
        print(f"note: everyone who reaches {host} can use it; set {TOKEN_VARIABLE} to a secret")
    print(service.predictor.runtime.describe_device())
    if note := terms_note(model, service.predictor.spec.license):
        print(note)
    print(f"computing with {service.predictor.runtime.describe()}")
    print(f"serving {model} on http://{host}:{port}", flush=True)
    run_server(service, host, port)


def require_service(command: str) -> None:
    """Refuse a command that serves where its libraries, or limits on processes, are missing.

    Raises:
        UserError: If so.
    """
    absent = missing(_POSIX_ALONE)
    if absent:
        raise UserError(
            f"{command} runs on Linux and macOS: this system lacks {absent[0]}, which limits what "
            "a process may take; start it in a container, or in WSL on Windows"
        )
    require(command, *_LIBRARIES, extra="serve")


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before the model is warmed up."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}
