"""Refusals: JSON with a code and one sentence (RFC 9457)."""

from http import HTTPStatus

from starlette.responses import JSONResponse

from segmenter.extras.serving.page_answers import SAFE_HEADERS


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        code: What is wrong, for programs, such as `queue-full`.
        detail: One sentence for people.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers

    def response(self) -> JSONResponse:
        """Return the answer."""
        content = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": " ".join(self.detail.split()),
        }
        headers = SAFE_HEADERS | (self.headers or {})
        return JSONResponse(content, self.status, headers, "application/problem+json")
