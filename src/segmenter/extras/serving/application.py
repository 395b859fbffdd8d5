"""The shell around the routes of every service."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from segmenter.extras.serving.gate import check_origin
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def make_application(
    routes: Sequence[Route], lifespan: Lifespan, settings: ServiceSettings
) -> Starlette:
    """Put routes into an application whose every refusal has our form."""
    application = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: partial(_http_problem, settings=settings)},
        middleware=[Middleware(_OneLength)],
    )
    application.router.redirect_slashes = False  # a redirect would pass no check
    return application


class _OneLength:
    """Refuse a request that states its length in two ways, and close its connection.

    A proxy may believe the other one, and take the end of the body for the next request (RFC 9112,
    section 6.3).
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        answer = self._application
        if {b"content-length", b"transfer-encoding"} <= names:
            detail = "the request has a Content-Length and a Transfer-Encoding; send one of them"
            answer = RequestError(400, "bad-http", detail, {"connection": "close"}).response()
        await answer(scope, receive, send)


def _http_problem(request: Request, error: Any, settings: ServiceSettings) -> Response:
    """Return Starlette's own refusals (no such path, wrong method) in our form."""
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    problem = RequestError(error.status_code, code, str(error.detail), error.headers)
    try:
        check_origin(request, settings)
    except RequestError as first:
        problem = first
    return problem.response()
