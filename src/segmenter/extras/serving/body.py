"""Bodies of requests: read within a size and a time, and the one image taken out of them."""

import asyncio
import time
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from segmenter.extras.serving.gate import check_content_type
from segmenter.extras.serving.places import Place
from segmenter.extras.serving.refusals import RequestError
from segmenter.extras.serving.service_settings import ServiceSettings

_MAX_PARTS = 16
_FORM = "multipart/form-data"
_IMAGE_KINDS = ("image/", "application/octet-stream", _FORM)


async def read_body(request: Request, settings: ServiceSettings) -> bytes:
    """Read the body, however it is sent.

    Raises:
        RequestError: 413 where it is too large, 408 where it is too slow, 400 where it ends early.
    """
    limit = settings.max_body_bytes
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise RequestError(400, "bad-content-length", "Content-Length is not a number of bytes")
    if int(length) > limit:
        raise _too_large(limit)
    body = bytearray()  # a list of parts would leave holes in the heap behind
    place: Place = request.state.place
    try:
        async with asyncio.timeout(settings.body_timeout) as timeout:
            with place.until_read(timeout):
                async for part in request.stream():
                    if len(body) + len(part) > limit:
                        raise _too_large(limit)
                    body += part
                    place.num_bytes = len(body)
    except TimeoutError:
        raise RequestError(
            408,
            "body-too-slow",
            f"{len(body)} bytes of the body arrived in {time.monotonic() - place.begin:.1f} s; a "
            f"body has {settings.body_timeout:g} s, and 1 s where others wait",
        ) from None
    except ClientDisconnect:
        raise RequestError(400, "body-cut", "the body ended early") from None
    return bytes(body)


async def read_image(request: Request, settings: ServiceSettings) -> bytes:
    """Return the bytes of the image in a body: the whole body, or the one file of a form.

    Raises:
        RequestError: As for `read_body`; 415 for another kind of body, 400 or 422 where it holds no
            image.
    """
    kind = check_content_type(request, _IMAGE_KINDS)
    body = await read_body(request, settings)
    image = await _file_of_form(request, body) if kind == _FORM else body
    if not image:
        raise RequestError(422, "no-image", "the request holds no image")
    return image


def _too_large(limit: int) -> RequestError:
    # Made where it is raised: in a variable beside the body it would keep that alive with it.
    return RequestError(413, "body-too-large", f"the body has more than {limit} bytes")


async def _file_of_form(request: Request, body: bytes) -> bytes:
    """Return the one file of a form."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=_MAX_PARTS, max_fields=_MAX_PARTS)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "no boundary is named"
        raise RequestError(400, "bad-form", f"the form cannot be read: {reason}") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise RequestError(
                422, "not-one-image", f"the form holds {len(files)} files; send one image at a time"
            )
        return await files[0].read()
    finally:
        await form.close()
