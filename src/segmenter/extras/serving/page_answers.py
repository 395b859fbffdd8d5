"""Answers with the files of the page, and the headers that keep it to itself."""

from collections.abc import Awaitable, Callable
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response

from segmenter.checkpoints.license import terms_of_use
from segmenter.extras.serving.page_files import KINDS, service_files, service_policy

SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""For every answer, unless it brings its own."""

LICENSE_HEADER = "x-model-license"
"""The terms of use of the model, in every answer that it computed; missing if it has none."""
_MAX_TERMS = 500  # characters in the header

_PAGE_HEADERS = {
    "content-security-policy": service_policy(),
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}

Answer = Callable[[Request], Awaitable[Response]]


def license_headers(license: str) -> dict[str, str]:
    """Return the header that tells the terms of a model; empty if it has none."""
    terms = terms_of_use(license)
    if terms is None:
        return {}
    return {LICENSE_HEADER: terms.encode("ascii", "backslashreplace").decode()[:_MAX_TERMS]}


def page_answers() -> dict[str, Answer]:
    """Handlers that answer with each file of the page, by the file's name."""
    return {name: _page_file(name, content) for name, content in service_files().items()}


def _page_file(name: str, content: bytes) -> Answer:
    kind = KINDS[PurePath(name).suffix]

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind, headers=_PAGE_HEADERS)

    return answer
