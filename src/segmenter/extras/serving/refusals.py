"""Refusals: JSON with a code and one sentence (RFC 9457)."""

from http import HTTPStatus
from logging import Logger

from starlette.responses import JSONResponse

from segmenter.extras.serving.page_answers import SAFE_HEADERS
from segmenter.runtimes.devices import is_out_of_memory


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


def failure(what: str, error: Exception, log: Logger) -> RequestError:
    """Log what ended a request other than a refusal, and return its answer."""
    if is_out_of_memory(error):
        log.warning("%s failed: memory is full", what)
        return RequestError(
            503,
            "out-of-memory",
            "the memory of the service does not suffice for this request; use an image of fewer "
            "pixels, or try again when the service has less to do",
        )
    log.error("%s failed", what, exc_info=error)
    return RequestError(500, "internal-error", "the request failed by a fault of the service")
