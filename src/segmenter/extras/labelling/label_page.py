"""Answers with the files of the page of `label`."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from segmenter.extras.serving.page_answers import Answer
from segmenter.extras.serving.page_files import KINDS, STYLE, service_policy

_FOLDER = Path(__file__).parent / "page"
_HEADERS = {
    "content-security-policy": service_policy(),
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}


def page_files() -> dict[str, Answer]:
    """Return handlers that answer with each file of the page, by the file's name."""
    paths = sorted(path for path in (*_FOLDER.iterdir(), STYLE) if path.suffix in KINDS)
    return {path.name: _file(path.read_bytes(), KINDS[path.suffix]) for path in paths}


def _file(content: bytes, kind: str) -> Answer:
    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return answer
