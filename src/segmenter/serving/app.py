"""The service as an ASGI application: who asks what, within which bounds."""

import asyncio
import hmac
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segmenter.drawing import label_png
from segmenter.errors import UserError
from segmenter.explaining.maps import attention, confidence, describe
from segmenter.inference.predictor import Predictor
from segmenter.serving import v2
from segmenter.serving.answers import ANSWERS, Labelled, choose_answer
from segmenter.serving.batching import Batcher
from segmenter.serving.body import read_body, read_image
from segmenter.serving.decoding import DecodePool
from segmenter.serving.metrics import CONTENT_TYPE, ServiceMetrics
from segmenter.serving.openapi import openapi
from segmenter.serving.pages import SAFE_HEADERS, page_answers
from segmenter.serving.problems import RequestError
from segmenter.serving.settings import ServiceSettings

log = logging.getLogger("segmenter.serving")

Handler = Callable[[Request], Awaitable[Response]]

_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
_VERSION = version("vit-segmenter")


class Service:
    """One model and the requests for it.

    Args:
        predictor: Labels photos; its model must take RGB.
        name: Of the model, in paths.
        settings: What is allowed.
    """

    def __init__(self, predictor: Predictor, name: str, settings: ServiceSettings) -> None:
        self.predictor, self.name, self.settings = predictor, name, settings
        self.metrics = ServiceMetrics()
        self.num_in_flight = 0
        self.is_draining = False
        self.decoder = DecodePool(settings)
        self.batcher = Batcher(predictor, settings, self.metrics.batch_size.observe)

    def application(self) -> Starlette:
        """The routes."""
        model = f"/v2/models/{self.name}"
        page = page_answers()
        routes = [
            self._route("/segment", "POST", self._segment, is_work=True),
            self._route("/confidence", "POST", self._confidence, is_work=True),
            self._route("/attention", "POST", self._attention, is_work=True),
            self._route(f"{model}/infer", "POST", self._infer, is_work=True),
            self._route("/v2/health/live", "GET", self._live, is_open=True),
            self._route("/v2/health/ready", "GET", self._ready, is_open=True),
            self._route("/v2", "GET", self._server_metadata),
            self._route(model, "GET", self._model_metadata),
            self._route(f"{model}/ready", "GET", self._ready, is_open=True),
            self._route("/metrics", "GET", self._metrics),
            self._route("/openapi.json", "GET", self._openapi),
            self._route("/model.json", "GET", self._describe),
            *(self._route(f"/{name}", "GET", page[name], is_open=True) for name in page),
            self._route("/", "GET", page["index.html"], is_open=True),
        ]
        return Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _http_problem},
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.batcher.close()
        self.decoder.close()

    def _route(
        self,
        path: str,
        method: str,
        handler: Handler,
        *,
        is_work: bool = False,
        is_open: bool = False,
    ) -> Route:
        """A route whose refusals are problems, and which is counted."""

        async def guarded(request: Request) -> Response:
            start = time.perf_counter()
            try:
                self._check_host(request)
                if not is_open:
                    self._check_token(request)
                response = await (self._admitted(request, handler) if is_work else handler(request))
            except RequestError as problem:
                response = problem.response()
            except Exception:
                log.exception("%s %s failed", method, path)
                response = RequestError(
                    500, "internal-error", "the request failed by a fault of the service"
                ).response()
            for header, value in SAFE_HEADERS.items():
                response.headers.setdefault(header, value)
            self.metrics.requests.labels(path, str(response.status_code)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
            return response

        return Route(path, guarded, methods=[method])

    async def _admitted(self, request: Request, handler: Handler) -> Response:
        """Work on a request if there is room, until its deadline or until the client has gone."""
        if self.is_draining:
            raise RequestError(
                503, "stopping", "the service is about to stop", {"retry-after": "5"}
            )
        if self.num_in_flight >= self.settings.max_requests:
            raise RequestError(
                429,
                "queue-full",
                f"{self.num_in_flight} requests are being worked on; try again later",
                {"retry-after": "1"},
            )
        self.num_in_flight += 1
        self.metrics.in_flight.set(self.num_in_flight)
        try:
            async with asyncio.timeout(self.settings.deadline):
                return await handler(request)
        except TimeoutError:
            raise RequestError(
                504, "deadline", f"no answer within {self.settings.deadline:g} s"
            ) from None
        finally:
            self.num_in_flight -= 1
            self.metrics.in_flight.set(self.num_in_flight)

    async def _segment(self, request: Request) -> Response:
        """A photo in, labels out."""
        kind = choose_answer(request.headers.get("accept", ""))
        data = await read_image(request, self.settings)
        image = await self.decoder.decode(data)
        labels = await self._labels(request, image)
        photo = Labelled(image, labels, self.predictor.classes)
        content = await asyncio.to_thread(ANSWERS[kind], photo)
        return Response(content, media_type=kind, headers={"vary": "accept"})

    async def _confidence(self, request: Request) -> Response:
        """A photo in, a grey PNG of the probability of each pixel's class out."""
        image = await self.decoder.decode(await read_image(request, self.settings))
        sure = await self.batcher.run(confidence, self.predictor, image)
        return Response(label_png(sure), media_type="image/png")

    async def _attention(self, request: Request) -> Response:
        """A photo in, what one layer takes from each patch out."""
        layer, place, class_index = _read_attention(request)
        image = await self.decoder.decode(await read_image(request, self.settings))
        try:
            found = await self.batcher.run(
                attention, self.predictor, image, layer, place, class_index
            )
        except UserError as error:
            raise RequestError(422, "bad-request", str(error)) from None
        return JSONResponse(found)

    async def _describe(self, _request: Request) -> Response:
        return JSONResponse(describe(self.predictor, self.name))

    async def _infer(self, request: Request) -> Response:
        """Tensors in, tensors out."""
        json_bytes = request.headers.get(v2.HEADER_LENGTH)
        request_id, images = await self._read_tensors(request, json_bytes)
        labels = await asyncio.gather(*(self._labels(request, image) for image in images))
        content, headers = await asyncio.to_thread(
            v2.answer, self.name, request_id, np.stack(labels), binary=json_bytes is not None
        )
        return Response(content, headers=headers)

    async def _read_tensors(
        self, request: Request, json_bytes: str | None
    ) -> tuple[str | None, ndarray]:
        """The id and the images of a request; its body is forgotten."""
        body = await read_body(request, self.settings)
        channels = self.predictor.spec.encoder.in_channels
        return await asyncio.to_thread(v2.read_request, body, json_bytes, channels, self.settings)

    async def _labels(self, request: Request, image: ndarray) -> ndarray:
        """Labels of one photo; given up when the client goes."""
        work = asyncio.create_task(self.batcher.submit(image))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise RequestError(400, "client-gone", "the client closed the connection")
            return work.result()
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            del work, gone  # a failure would keep itself, and the photo, alive through them

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host", "localhost")  # a browser always names one
        if self.settings.is_local and not _LOCAL_HOST.fullmatch(host):
            raise RequestError(
                421, "wrong-host", "this service is for its own machine; ask it as localhost"
            )

    def _check_token(self, request: Request) -> None:
        token = self.settings.token
        if token is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise RequestError(
                401,
                "unauthorized",
                "a bearer token is required",
                {"www-authenticate": "Bearer"},
            )

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _request: Request) -> Response:
        ready = not self.is_draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def _server_metadata(self, _request: Request) -> Response:
        return JSONResponse(v2.server_metadata(_VERSION))

    async def _model_metadata(self, _request: Request) -> Response:
        channels = self.predictor.spec.encoder.in_channels
        return JSONResponse(v2.model_metadata(self.name, self.predictor.classes, channels))

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(openapi(self.name, _VERSION))


def open_service(
    model: str, settings: ServiceSettings, *, device: str, runtime: str, precision: str
) -> Service:
    """Bring a model to where it answers.

    Args:
        model: As for `Predictor`; its path names the model in paths of the protocol.
        settings: What is allowed.
        device: As for `Predictor`.
        runtime: As for `Predictor`.
        precision: As for `Predictor`.

    Raises:
        UserError: If the model cannot be used, or does not take photos.
    """
    predictor = Predictor(model, device=device, runtime=runtime, precision=precision)
    num_channels = predictor.spec.encoder.in_channels
    if num_channels != 3:
        raise UserError(f"photos have 3 channels, this model takes {num_channels}")
    return Service(predictor, re.sub(r"[^\w.-]+", "-", Path(model).stem) or "model", settings)


async def _disconnected(request: Request) -> None:
    """Wait until the client has gone; the body has been read."""
    with suppress(Exception):  # what Ray's proxy raises then, where others send a message
        while (await request.receive())["type"] != "http.disconnect":
            pass


def _http_problem(_request: Request, error: Any) -> Response:
    """Starlette's own refusals (no such path, wrong method) in our form."""
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    problem = RequestError(error.status_code, code, str(error.detail), error.headers)
    return problem.response()


def _read_attention(request: Request) -> tuple[int, tuple[float, float] | None, int | None]:
    """Layer, place and class that a query names."""
    query = request.query_params
    try:
        layer = int(query.get("layer", "0"))
        class_index = int(query["class"]) if "class" in query else None
        place = (float(query["row"]), float(query["column"])) if class_index is None else None
    except (KeyError, ValueError):
        raise RequestError(
            422, "bad-request", "give layer, and row and column (0 to 1) or class, as numbers"
        ) from None
    return layer, place, class_index
