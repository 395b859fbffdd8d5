"""Admit requests: with the token, for the right host, and from no page of another site.

A browser sends what any page tells it to, to loopback too, without asking where the request is
"simple". It says in `Sec-Fetch-Site` and `Origin` on whose behalf; other clients send neither.
"""

import hmac
import re
from urllib.parse import urlsplit

from starlette.requests import Request

from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings

_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
_OWN_SITES = {"same-origin", "none"}  # "none" means typed into the address bar, or a bookmark


def check_origin(request: Request, settings: ServiceSettings) -> None:
    """Refuse requests to another host's name, and those that a page of another site makes.

    A link to a page of the service may be followed from anywhere.

    Raises:
        RequestError: 421 or 403.
    """
    host = request.headers.get("host", "localhost")  # a browser always names one
    if settings.is_local and not _LOCAL_HOST.fullmatch(host):
        raise RequestError(
            421, "wrong-host", "this service is for its own machine; ask it as localhost"
        )
    sites = request.headers.getlist("sec-fetch-site")
    if not _OWN_SITES.issuperset(sites) and not _is_followed_link(request):
        raise _cross_site()
    for origin in request.headers.getlist("origin"):
        if not _is_origin_of(origin, host):
            raise _cross_site()


def check_token(request: Request, settings: ServiceSettings) -> None:
    """Refuse requests without the token, if there is one.

    Raises:
        RequestError: 401.
    """
    if settings.token is None:
        return
    given = request.headers.get("authorization", "").encode("latin-1")  # the bytes as sent
    # The environment's bytes, of any encoding.
    expected = b"Bearer " + settings.token.encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, expected):
        raise RequestError(
            401, "unauthorized", "a bearer token is required", {"www-authenticate": "Bearer"}
        )


def check_content_type(request: Request, allowed: tuple[str, ...]) -> str:
    """Return the media type of a body, in lower case; empty if none is stated.

    Args:
        request: The request.
        allowed: Media types; one that ends with `/` stands for all that begin so.

    Raises:
        RequestError: 415 if another is stated, or several, or if the body is compressed.
    """
    codings = request.headers.getlist("content-encoding")
    if any(coding.strip().lower() not in {"", "identity"} for coding in codings):
        raise RequestError(
            415, "unsupported-encoding", "the body has a Content-Encoding; send it as it is"
        )
    stated = request.headers.getlist("content-type")
    kind = ",".join(stated).partition(";")[0].strip().lower()
    fits = any(kind == each or (each[-1] == "/" and kind.startswith(each)) for each in allowed)
    if len(stated) > 1 or (stated and not fits):
        kinds = " or ".join(each + "*" if each[-1] == "/" else each for each in allowed)
        raise RequestError(
            415, "unsupported-media-type", f"the content type of the body must be {kinds}"
        )
    return kind


def _is_followed_link(request: Request) -> bool:
    """Return True if a person follows a link to the page; no script of the other site reads it."""
    return (
        request.method == "GET"
        and request.scope["path"] == "/"  # the URL is put together from what the client calls us
        and request.headers.get("sec-fetch-mode") == "navigate"
        and request.headers.get("sec-fetch-dest") == "document"
    )


def _is_origin_of(origin: str, host: str) -> bool:
    """Return True if a page of this origin is from this host; TLS may end at a proxy between."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and origin.lower() == (
        f"{parts.scheme}://{host}".lower()
    )


def _cross_site() -> RequestError:
    return RequestError(
        403,
        "cross-site",
        "a page of another site may not use this service; use its own page, or a client that is "
        "no browser",
    )
