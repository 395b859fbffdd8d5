"""The server around the application: slow clients, and a stop that lets requests finish."""

import asyncio
import signal
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from segmenter.serving.app import Service

_HEADER_TIMEOUT = 10.0  # seconds, for the first line and headers of a connection
_POLL = 0.05


def run_server(service: Service, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then finishes.

    A second signal ends at once.
    """
    # uvicorn raises the signal again when it has stopped; a stop that was asked for is no failure.
    before = {each: signal.signal(each, _ignore) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        _DrainingServer(make_config(service, host, port), service).run()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def make_config(service: Service, host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves it."""
    return uvicorn.Config(
        service.application(),
        host=host,
        port=port,
        loop="asyncio",  # the one that is tested, also where Ray has brought uvloop
        http=_PatientProtocol,
        ws="none",
        lifespan="on",
        log_level="info",
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=1,
    )


class _DrainingServer(uvicorn.Server):
    """Goes on answering, `ready` with 503, until the requests in flight are done."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._service.is_draining:
            super().handle_exit(sig, frame)
        self._service.is_draining = True

    async def on_tick(self, counter: int) -> bool:
        if self._service.is_draining and self._drain is None:
            self._drain = asyncio.create_task(self._stop_when_idle())
        return await super().on_tick(counter)

    async def _stop_when_idle(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._service.settings.drain_timeout
        while self._service.num_in_flight and loop.time() < until:
            await asyncio.sleep(_POLL)
        self.should_exit = True


class _PatientProtocol(H11Protocol):
    """Closes connections that do not send the head of a request in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_HEADER_TIMEOUT, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass
