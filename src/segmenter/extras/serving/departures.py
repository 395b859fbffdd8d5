"""Work for a client that may leave before it is done."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request

from segmenter.extras.serving.refusals import RequestError

Result = TypeVar("Result")


async def until_gone(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for work whose request has been read; cancel it when the client leaves.

    Raises:
        RequestError: If the client left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(wait_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestError(400, "client-gone", "the client closed the connection")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
        del task, gone  # a failure would keep itself, and the image, alive through them


async def wait_until_gone(request: Request) -> None:
    """Wait until the client has gone; the body has been read."""
    with suppress(Exception):  # what Ray's proxy raises then, where others send a message
        while (await request.receive())["type"] != "http.disconnect":
            pass
