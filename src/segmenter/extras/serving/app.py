"""The service as an ASGI application: who asks what, within which bounds."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy import ndarray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segmenter.drawing import encode_jpeg, label_png
from segmenter.errors import UserError
from segmenter.extras.explaining.maps import attention, confidence, describe
from segmenter.extras.serving import v2
from segmenter.extras.serving.answers import ANSWERS, Labelled, choose_answer
from segmenter.extras.serving.application import make_application
from segmenter.extras.serving.batching import Batcher
from segmenter.extras.serving.body import read_body, read_image
from segmenter.extras.serving.decoding import DecodePool
from segmenter.extras.serving.departures import until_gone
from segmenter.extras.serving.gate import check_content_type, check_origin, check_token
from segmenter.extras.serving.heap import Heap
from segmenter.extras.serving.openapi import openapi
from segmenter.extras.serving.page_answers import SAFE_HEADERS, license_headers, page_answers
from segmenter.extras.serving.places import Place, Places
from segmenter.extras.serving.prometheus import CONTENT_TYPE, ServiceMetrics
from segmenter.extras.serving.refusals import RequestError, failure
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.extras.serving.workload import check_workload
from segmenter.image_spec import shown_pixels
from segmenter.inference.predictor import Predictor
from segmenter.options import Compute, ServedLabels, Sizes
from segmenter.runtimes.open_runtime import open_runtime

log = logging.getLogger("segmenter.serving")

Handler = Callable[[Request], Awaitable[Response]]
Result = TypeVar("Result")

_LARGE_BODY = 1 << 20
_VERSION = version("vit-segmenter")


class Service:
    """One model and the requests for it.

    Args:
        predictor: Labels images; its model must take RGB.
        name: Name of the model, in paths.
        settings: What is allowed.
    """

    def __init__(self, predictor: Predictor, name: str, settings: ServiceSettings) -> None:
        self.predictor, self.name, self.settings = predictor, name, settings
        self.metrics = ServiceMetrics()
        self.places = Places(settings.max_requests, lambda count: self.metrics.in_flight.set(count))
        self.is_draining = False
        self.decoder = DecodePool(settings, predictor.image_bits, predictor.spec.image)
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large bodies")
        self._heap = Heap(self._large)
        self.batcher = Batcher(predictor, settings, self.metrics.batch_size.observe)
        self._terms = license_headers(predictor.spec.license)

    @property
    def num_in_flight(self) -> int:
        """Requests that wait or are worked on."""
        return self.places.num_taken

    def application(self) -> Starlette:
        """Return the routes."""
        model = f"/v2/models/{self.name}"
        page = page_answers()
        routes = [
            self._route("/segment", "POST", self._segment, is_work=True),
            self._route("/confidence", "POST", self._confidence, is_work=True),
            self._route("/attention", "POST", self._attention, is_work=True),
            self._route("/picture", "POST", self._picture, is_work=True),
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
        return make_application(routes, self._lifespan, self.settings)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.batcher.close()
        self.decoder.close()
        self._large.shutdown(wait=False, cancel_futures=True)

    def _route(
        self,
        path: str,
        method: str,
        handler: Handler,
        *,
        is_work: bool = False,
        is_open: bool = False,
    ) -> Route:
        """Return a route whose refusals are problems, and which is counted."""

        async def guarded(request: Request) -> Response:
            start = time.perf_counter()
            try:
                check_origin(request, self.settings)
                if not is_open:
                    check_token(request, self.settings)
                response = await (self._admitted(request, handler) if is_work else handler(request))
            except RequestError as problem:
                response = problem.response()
            except Exception as error:
                response = failure(f"{method} {path}", error, log).response()
            for header, value in (SAFE_HEADERS | (self._terms if is_work else {})).items():
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
        client = request.client.host if request.client else ""
        with self.places.take(client) as request.state.place:
            place: Place = request.state.place
            try:
                async with asyncio.timeout(self.settings.deadline):
                    return await handler(request)
            except TimeoutError:
                raise RequestError(
                    504, "deadline", f"no answer within {self.settings.deadline:g} s"
                ) from None
            finally:
                if place.is_large or place.num_bytes > _LARGE_BODY:
                    self._heap.trim_soon()

    async def _segment(self, request: Request) -> Response:
        """Answer an image with its labels."""
        kind = choose_answer(request.headers.get("accept", ""))
        data = await read_image(request, self.settings)

        async def work() -> bytes:
            image = await self._decode(request, data)
            self._check_workload(request, [image])
            (labels,) = await self.batcher.label([image])
            picture = shown_pixels(image, self.predictor.spec.image)
            labelled = Labelled(picture, labels, self.predictor.classes)
            return await self._off_loop([image], ANSWERS[kind], labelled)

        content = await until_gone(request, work())
        return Response(content, media_type=kind, headers={"vary": "accept"})

    async def _confidence(self, request: Request) -> Response:
        """Answer an image with a grey PNG of the probability of each pixel's class."""
        data = await read_image(request, self.settings)

        async def work() -> bytes:
            image = await self._decode(request, data)
            self._check_workload(request, [image])
            sure = await self.batcher.run_in_slices(confidence, image)
            return await self._off_loop([image], label_png, sure)

        return Response(await until_gone(request, work()), media_type="image/png")

    async def _attention(self, request: Request) -> Response:
        """Answer an image with the attention of one layer to each patch."""
        asked = _read_attention(request)
        data = await read_image(request, self.settings)

        async def work() -> dict[str, Any]:
            image = await self._decode(request, data)
            return await self.batcher.run(attention, image, *asked)

        try:
            return JSONResponse(await until_gone(request, work()))
        except UserError as error:
            raise RequestError(422, "bad-request", str(error)) from None

    async def _picture(self, request: Request) -> Response:
        """Answer an image with its picture as JPEG, for a browser that cannot read the image."""
        data = await read_image(request, self.settings)

        async def work() -> bytes:
            image = await self._decode(request, data)
            picture = shown_pixels(image, self.predictor.spec.image)
            return await self._off_loop([image], encode_jpeg, picture)

        return Response(await until_gone(request, work()), media_type="image/jpeg")

    async def _decode(self, request: Request, data: bytes) -> ndarray:
        return await self.decoder.decode(data, lambda: self.places.take_large(request.state.place))

    def _check_workload(self, request: Request, images: Sequence[ndarray]) -> None:
        for image in images:
            check_workload(image.shape, self.predictor, self.settings)
        if self.batcher.is_large(images):
            self.places.take_large(request.state.place)

    async def _off_loop(
        self, images: Sequence[ndarray], function: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Call a function in a thread; those for large images wait for each other."""
        threads = self._large if self.batcher.is_large(images) else None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, function, *arguments)

    async def _describe(self, _request: Request) -> Response:
        content = await asyncio.to_thread(describe, self.predictor, self.name)
        return JSONResponse(content | {"threshold": self.predictor.threshold})

    async def _infer(self, request: Request) -> Response:
        """Tensors in, tensors out."""
        check_content_type(request, ("application/json", "application/octet-stream"))
        json_bytes = request.headers.get(v2.HEADER_LENGTH)
        request_id, tensor = await self._read_tensors(request, json_bytes)
        images = list(tensor)
        self._check_workload(request, images)

        async def work() -> tuple[bytes, dict[str, str]]:
            labels = await self.batcher.label(images)
            write = partial(v2.answer, binary=json_bytes is not None)
            return await self._off_loop(images, write, self.name, request_id, np.stack(labels))

        content, headers = await until_gone(request, work())
        return Response(content, headers=headers)

    async def _read_tensors(
        self, request: Request, json_bytes: str | None
    ) -> tuple[str | None, ndarray]:
        """Return the id and the images of a request; its body is forgotten."""
        body = await read_body(request, self.settings)
        threads = self._large if len(body) > _LARGE_BODY else None
        loop = asyncio.get_running_loop()
        spec = self.predictor.spec
        reading = partial(
            v2.read_request,
            *(body, json_bytes, spec.encoder.in_channels, self.settings),
            dtype=v2.sample_dtype(spec),
        )
        return await until_gone(request, loop.run_in_executor(threads, reading))

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _request: Request) -> Response:
        ready = not self.is_draining
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def _server_metadata(self, _request: Request) -> Response:
        return JSONResponse(v2.server_metadata(_VERSION))

    async def _model_metadata(self, _request: Request) -> Response:
        return JSONResponse(
            v2.model_metadata(self.name, self.predictor.spec, self.predictor.threshold)
        )

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _openapi(self, _request: Request) -> Response:
        return JSONResponse(openapi(self.name, _VERSION))


def open_service(
    model: str,
    settings: ServiceSettings,
    compute: Compute,
    *,
    labels: ServedLabels = ServedLabels(),  # noqa: B008 - it is frozen
    sizes: Sizes = Sizes(),  # noqa: B008 - it is frozen
) -> Service:
    """Bring a model to where it answers.

    Args:
        model: As for `Predictor`; its path names the model in paths of the protocol.
        settings: What is allowed.
        compute: How it is computed.
        labels: Threshold and symmetry, as for `Predictor`.
        sizes: Changes to the size and the windows in which it is shown images.

    Raises:
        UserError: If the model cannot be used, or does not take images.
    """
    predictor = Predictor(open_runtime(model, compute), **vars(labels), **vars(sizes))
    predictor.spec.require_files()
    return Service(predictor, re.sub(r"[^\w.-]+", "-", Path(model).stem) or "model", settings)


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
