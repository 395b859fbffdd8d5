"""The shell around the routes of every service."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
    )
    application.router.redirect_slashes = False  # a redirect would pass no check
    return application


def _http_problem(request: Request, error: Any, settings: ServiceSettings) -> Response:
    """Return Starlette's own refusals (no such path, wrong method) in our form."""
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    problem = RequestError(error.status_code, code, str(error.detail), error.headers)
    try:
        check_origin(request, settings)
    except RequestError as first:
        problem = first
    return problem.response()
