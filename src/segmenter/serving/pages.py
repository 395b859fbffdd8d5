"""The files of the page, and the headers that keep it to itself."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

PAGE_FILES = tuple(sorted(path.name for path in _FOLDER.iterdir() if path.suffix in _KINDS))
"""Names of the page's files."""

SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""For every answer, unless it brings its own."""

_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}


def page_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    """What answers with one file of the page."""
    content = (_FOLDER / name).read_bytes()
    kind = _KINDS[Path(name).suffix]

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind, headers=_PAGE_HEADERS)

    return answer
