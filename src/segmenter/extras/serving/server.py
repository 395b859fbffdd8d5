"""The server around the application: slow clients, and a stop that lets requests finish."""

import asyncio
import gc
import os
import signal
import threading
from types import FrameType
from typing import Protocol, runtime_checkable

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from segmenter.extras.serving.heap import limit_arenas
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings

_HEAD_TIMEOUT = 10.0  # seconds, for the first line and headers of a request
_TAKE_TIMEOUT = 60.0  # seconds, for a client to take an answer
_POLL = 0.05
_CLOSE_TIMEOUT = 5.0  # seconds, for what is still computed after the drain to notice


@runtime_checkable
class Service(Protocol):
    """The application to serve."""

    is_draining: bool
    """True: it is about to stop."""
    settings: ServiceSettings
    """Its bounds."""

    @property
    def num_in_flight(self) -> int:
        """Requests that wait or are worked on."""
        ...

    def application(self) -> Starlette:
        """Return the routes."""
        ...


def run_server(service: Service, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then finishes.

    A second signal ends at once, and nothing lasts longer than 30 s after the first.
    """
    # uvicorn raises the signal again after it stops; a stop that was asked for is not a failure.
    before = {each: signal.signal(each, _ignore) for each in (signal.SIGTERM, signal.SIGINT)}
    limit_arenas()
    gc.freeze()  # the model and the libraries stay; collections look at requests alone
    try:
        _DrainingServer(make_config(service, host, port), service).run()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def make_config(service: Service, host: str, port: int) -> uvicorn.Config:
    """Return uvicorn's configuration."""
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
        timeout_keep_alive=int(_HEAD_TIMEOUT),
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
        else:
            _end_in(self._service.settings.drain_timeout + _CLOSE_TIMEOUT)
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
    """Closes connections that keep it waiting, and refuses what is not HTTP as all else: in JSON.

    The head of a request must have arrived in time after the connection or the answer before it,
    and an answer must be taken in time.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._taking: asyncio.TimerHandle | None = None
        self._expect_request(self.cycle)

    def on_response_complete(self) -> None:
        answered = self.cycle
        super().on_response_complete()  # may begin with the next request
        self._expect_request(answered)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self._taking or self.loop.call_later(_TAKE_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking:
            self._taking.cancel()
            self._taking = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; uvicorn's own answer is plain text."""
        problem = RequestError(400, "bad-http", msg).response()
        headers = [*problem.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=problem.status_code, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(problem.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect_request(self, last: RequestResponseCycle | None) -> None:
        self.loop.call_later(_HEAD_TIMEOUT, self._close_unless_followed, last)

    def _close_unless_followed(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last and not self.transport.is_closing():
            self.transport.close()


def _end_in(seconds: float) -> None:
    """End the process, unless it has ended by then: no library is known to give up on request."""
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass
