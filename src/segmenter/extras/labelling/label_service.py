"""The service behind the page of `label`: who asks what, in which thread it is done.

One thread has the folder, so that changes follow each other; another computes, so that a stroke is
never kept waiting by a model.
"""

import asyncio
import gzip
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_image
from segmenter.drawing import encode_jpeg
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import Assistant, LabelledImage, Proposal
from segmenter.extras.labelling.image_record import StaleError
from segmenter.extras.labelling.label_folder import LISTS, LabelFolder, Outcome
from segmenter.extras.labelling.label_page import page_files
from segmenter.extras.labelling.layers import NOT_SURE, NOTHING, Acceptance, Stroke
from segmenter.extras.labelling.mask_files import ForeignMaskError
from segmenter.extras.labelling.requests import (
    AcceptBody,
    Body,
    ChangeBody,
    ClassBody,
    GrowBody,
    MarkBody,
    StrokeBody,
    TakeMaskBody,
    read_json,
)
from segmenter.extras.labelling.runs import Box, mask_of, read_runs, runs_of
from segmenter.extras.serving.application import make_application
from segmenter.extras.serving.body import read_body
from segmenter.extras.serving.gate import check_content_type, check_origin
from segmenter.extras.serving.page_answers import SAFE_HEADERS
from segmenter.extras.serving.places import Places
from segmenter.extras.serving.refusals import RequestError, failure
from segmenter.extras.serving.service_settings import ServiceSettings
from segmenter.image_spec import ImageSpec, shown_pixels

log = logging.getLogger("segmenter.labelling")

Handler = Callable[[Request], Awaitable[Response]]
Result = TypeVar("Result")

_IDLE = 1.0
"""Seconds after the last change until masks are written."""
_JPEG_QUALITY = 92
_MAX_SHOWN = 4
"""Proposals that can be accepted: two windows may each show one while the next is under way."""


@dataclass(frozen=True)
class _Shown:
    """A proposal that the page shows."""

    image: str
    proposal: Proposal


class LabelService:
    """A folder that is labelled, and what helps with it.

    Args:
        folder: The folder.
        assistant: Makes proposals; if None, the page offers none.
        settings: What is allowed.
        order: Names of images that come first.
    """

    def __init__(
        self,
        folder: LabelFolder,
        assistant: Assistant | None,
        settings: ServiceSettings,
        order: Sequence[str] = (),
    ) -> None:
        self.folder, self.assistant, self.settings = folder, assistant, settings
        self._order = order
        self.is_draining = False
        self._places = Places(settings.max_requests, lambda _: None)
        self._storage = ThreadPoolExecutor(1, thread_name_prefix="label folder")
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="assistant")
        self._changed = asyncio.Event()
        self._shown: OrderedDict[int, _Shown] = OrderedDict()
        self._num_proposals = secrets.randbelow(1 << 40)  # none of before a restart is taken for it
        self._wishes: Counter[str] = Counter()
        self._mask_problems: dict[str, str] = {}
        """Why masks could not be written, though their strokes are saved; see `write_masks`."""

    @property
    def num_in_flight(self) -> int:
        """Requests that wait or are worked on."""
        return self._places.num_taken

    def application(self) -> Starlette:
        """Return the routes."""
        bodies: dict[str, tuple[type[Body], Callable[[Any], Awaitable[Any]]]] = {
            "stroke": (StrokeBody, self._stroke),
            "accept": (AcceptBody, self._accept),
            "undo": (ChangeBody, lambda body: self._step(body, "undo")),
            "redo": (ChangeBody, lambda body: self._step(body, "redo")),
            "mark": (MarkBody, self._mark),
            "take-mask": (TakeMaskBody, self._take_mask),
            "class": (ClassBody, self._add_class),
            "grow": (GrowBody, self._grow),
        }
        gets: dict[str, Handler] = {
            "folder": self._describe,
            "open": self._open,
            "news": self._news,
            "pixels": self._pixels,
            "labels": self._labels,
            "prepare": self._prepare,
            "proposal": self._propose,
        }
        files = page_files()
        routes = [
            *(self._route(f"/api/{name}", "GET", handler) for name, handler in gets.items()),
            *(self._post(name, *handler) for name, handler in bodies.items()),
            *(self._route(f"/{name}", "GET", files[name]) for name in files),
            self._route("/", "GET", files["index.html"]),
        ]
        return make_application(routes, self._lifespan, self.settings)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        writing = asyncio.create_task(self._write_masks())
        yield
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        self._compute.shutdown(wait=False, cancel_futures=True)
        self._storage.shutdown()

    async def _write_masks(self) -> None:
        """Write masks when nobody has painted for a while."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(_IDLE)
            if not self._changed.is_set():
                self._mask_problems = await self._store(self.folder.write_masks)
                for problem in self._mask_problems.values():
                    log.warning("%s", problem)

    def _post(
        self, name: str, schema: type[Body], handle: Callable[[Any], Awaitable[Any]]
    ) -> Route:
        async def answer(request: Request) -> Response:
            check_content_type(request, ("application/json",))
            body = await read_body(request, self.settings)
            return JSONResponse(await handle(read_json(body, schema)))

        return self._route(f"/api/{name}", "POST", answer)

    def _route(self, path: str, method: str, handler: Handler) -> Route:
        """Return a route whose refusals are problems, and that takes a place."""

        async def guarded(request: Request) -> Response:
            client = request.client.host if request.client else ""
            try:
                check_origin(request, self.settings)
                with self._places.take(client) as request.state.place:
                    response = await handler(request)
            except RequestError as problem:
                response = problem.response()
            except UserError as error:
                response = _refusal(error).response()
            except Exception as error:
                response = failure(f"{method} {path}", error, log).response()
            for header, value in SAFE_HEADERS.items():
                response.headers.setdefault(header, value)
            return response

        return Route(path, guarded, methods=[method])

    async def _store(self, function: Callable[..., Result], *arguments: Any, **more: Any) -> Result:
        """Call a function in the thread that has the folder."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._storage, lambda: function(*arguments, **more))

    async def _assist(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the thread that computes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compute, function, *arguments)

    async def _change(self, image: str, work: Awaitable[Outcome]) -> dict[str, Any]:
        outcome = await work
        self._changed.set()
        problem = self._mask_problems.get(image, self._mask_problems.get(LISTS))
        return {**asdict(outcome), "mask_problem": problem}

    async def _describe(self, request: Request) -> Response:
        """Classes, images and their states; `look=1` looks for images anew."""
        if "look" in request.query_params:
            await self._store(self.folder.look)
        states = await self._store(self.folder.states)
        first = [name for name in self._order if name in states]
        names = dict.fromkeys((*first, *states))
        assistant = self.assistant
        return JSONResponse(
            {
                "name": self.folder.root.resolve().name,
                "classes": _class_rows(self.folder.classes),
                "images": [{"name": name, "state": states[name]} for name in names],
                "assistant": assistant and assistant.describe(),
                "learns": assistant is not None and assistant.learns,
                "grows": assistant is not None and assistant.grows,
            }
        )

    async def _open(self, request: Request) -> Response:
        name = _image_of(request)
        try:
            outcome = await self._store(self.folder.open, name)
            note = None
        except ForeignMaskError as error:
            outcome, note = await self._store(self.folder.look_at, name), str(error)
        height, width = await self._store(self.folder.shape, name)
        return JSONResponse(
            {**asdict(outcome), "height": height, "width": width, "foreign_mask": note}
        )

    async def _news(self, request: Request) -> Response:
        """Return changes of other windows; asked about every second, so no file is read."""
        version = await self._store(self.folder.version, _image_of(request))
        return JSONResponse({"version": version, "classes": len(self.folder.classes or ())})

    async def _pixels(self, request: Request) -> Response:
        """Return the image, upright and as RGB of 8 bits, as JPEG."""
        name = _image_of(request)
        path = self.folder.image_path(name)
        height, width = await self._store(self.folder.shape, name)
        if height * width > self.settings.max_pixels:
            raise UserError(
                f"{path} has {height} x {width} pixels (height x width), and the page shows at "
                f"most {self.settings.max_pixels:,}; cut it into tiles"
            )
        image = None if self.assistant is None else self.assistant.image
        bits = None if self.folder.classes is None else self.folder.classes.image_bits
        content = await asyncio.to_thread(_picture, path, bits, image)
        return Response(content, media_type="image/jpeg")

    async def _labels(self, request: Request) -> Response:
        version, labels = await self._store(self.folder.labels, _image_of(request))
        top, left, bottom, right = _box_of(request, (labels.shape[0], labels.shape[1]))
        part = labels[top:bottom, left:right]
        return await _array(part, {"x-version": str(version)})

    async def _stroke(self, body: StrokeBody) -> dict[str, Any]:
        self._check_value(body)
        shape = await self._store(self.folder.shape, body.image)
        stroke = Stroke(body.tool, body.value, read_runs(body.runs, shape))
        return await self._change(body.image, self._store(self.folder.change, body.change, stroke))

    def _check_value(self, body: StrokeBody) -> None:
        is_class = body.value < len(self.folder.classes or ())
        erases = body.tool == "eraser"
        if erases != (body.value == NOTHING) or not (is_class or body.value >= NOT_SURE):
            raise UserError(
                f"{body.tool} with value {body.value}: paint with the index of a class (there are "
                f"{len(self.folder.classes or ())}) or {NOT_SURE} for not sure, erase with "
                f"{NOTHING}"
            )

    async def _accept(self, body: AcceptBody) -> dict[str, Any]:
        before = await self._change(body.image, self._store(self.folder.change, body.change, None))
        if before["version"] > body.version:  # sent again, because the answer was lost
            return before
        shown = self._shown.get(body.proposal)
        if shown is None or shown.image != body.image:
            raise StaleError("there is a newer proposal; accept that one")
        full = await self._assist(shown.proposal.full)
        kept = np.isin(full, body.classes) if body.classes is not None else full != NOTHING
        if body.runs is not None:
            kept &= mask_of(read_runs(body.runs, (full.shape[0], full.shape[1])), full.shape)
        labels = np.where(kept, full, np.uint8(NOTHING))
        operation = await asyncio.to_thread(Acceptance.of_proposal, labels)
        if operation is None:
            raise UserError("the proposal has no such pixels to accept")
        return await self._change(
            body.image, self._store(self.folder.change, body.change, operation)
        )

    async def _step(self, body: ChangeBody, kind: str) -> dict[str, Any]:
        return await self._change(body.image, self._store(self.folder.step, body.change, kind))

    async def _mark(self, body: MarkBody) -> dict[str, Any]:
        return await self._change(body.image, self._store(self.folder.mark, body.change, body.done))

    async def _take_mask(self, body: TakeMaskBody) -> dict[str, Any]:
        work = self._store(self.folder.take_mask, body.change, keep_labels=body.keep_labels)
        return await self._change(body.image, work)

    async def _add_class(self, body: ClassBody) -> dict[str, Any]:
        classes = await self._store(self.folder.add_class, body.count, body.name, body.color)
        return {"classes": _class_rows(classes)}

    async def _prepare(self, request: Request) -> Response:
        """Compute what an image that comes next needs, while another is looked at."""
        assistant, _ = self._need_assistant()
        await self._assist(assistant.prepare, self.folder.image_path(_image_of(request)))
        return Response(status_code=204)

    async def _propose(self, request: Request) -> Response:
        """Learn from all that is labelled, then propose; an older wish makes room for a newer."""
        name = _image_of(request)
        assistant, classes = self._need_assistant()
        self._wishes[name] += 1
        wish = self._wishes[name]
        await self._learn(assistant, classes, name)
        path, shape = self.folder.image_path(name), await self._store(self.folder.shape, name)
        if wish != self._wishes[name]:
            raise RequestError(409, "superseded", "a newer proposal was asked for")
        proposal = await self._assist(assistant.propose, path, shape, classes)
        self._num_proposals += 1
        number = self._num_proposals
        self._shown[number] = _Shown(name, proposal)
        if len(self._shown) > _MAX_SHOWN:
            self._shown.popitem(last=False)
        return await _array(proposal.shown, {"x-proposal": str(number)})

    async def _learn(self, assistant: Assistant, classes: Classes, name: str) -> None:
        if not assistant.learns:
            return
        versions = await self._store(self.folder.versions)
        for each, version in sorted(versions.items(), key=lambda pair: pair[0] != name):
            if assistant.knows(each) == version:
                continue
            try:
                version, labels = await self._store(self.folder.labels, each)
            except UserError:
                continue  # an image that is gone; opening it says so
            image = LabelledImage(each, self.folder.image_path(each), version, labels)
            await self._assist(assistant.learn, image, classes)

    async def _grow(self, body: GrowBody) -> dict[str, Any]:
        assistant, _ = self._need_assistant()
        path, shape = (
            self.folder.image_path(body.image),
            await self._store(self.folder.shape, body.image),
        )
        if body.row >= shape[0] or body.column >= shape[1]:
            raise UserError(
                f"row {body.row}, column {body.column} lies outside of the image of {shape[0]} x "
                f"{shape[1]} pixels (height x width)"
            )
        at = (body.row, body.column)
        region = await self._assist(assistant.grow, path, shape, at, body.tolerance)
        return {"runs": runs_of(region).ravel().tolist()}

    def _need_assistant(self) -> tuple[Assistant, Classes]:
        if self.assistant is None:
            raise UserError("`label` was started without help, so nothing is proposed")
        if self.folder.classes is None:
            raise UserError("the class list is empty; add two classes and paint a stroke of each")
        return self.assistant, self.folder.classes


def _picture(path: Path, bits: int | None, image: ImageSpec | None) -> bytes:
    pixels = decode_image(path, image_bits=bits, image=image)
    return encode_jpeg(shown_pixels(pixels, image), _JPEG_QUALITY)


def _refusal(error: UserError) -> RequestError:
    if isinstance(error, StaleError):
        return RequestError(409, "stale", str(error))
    if isinstance(error, ForeignMaskError):
        return RequestError(409, "foreign-mask", str(error))
    return RequestError(422, "refused", str(error))


def _image_of(request: Request) -> str:
    name = request.query_params.get("image")
    if name is None:
        raise RequestError(422, "bad-request", "give the name of an image, as ?image=NAME")
    return name


def _box_of(request: Request, shape: tuple[int, int]) -> Box:
    """Return the part of an image that is asked for; all of it where none is named."""
    given = request.query_params.get("box")
    if given is None:
        return 0, 0, *shape
    try:
        top, left, bottom, right = map(int, given.split(","))
    except ValueError:
        top, left, bottom, right = 0, 0, 0, 0
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise RequestError(
            422, "bad-request", "give a box inside the image, as ?box=TOP,LEFT,BOTTOM,RIGHT"
        )
    return top, left, bottom, right


def _class_rows(classes: Classes | None) -> list[dict[str, Any]]:
    rows = () if classes is None else classes.by_index
    return [{"name": info.name, "color": list(info.color)} for info in rows]


async def _array(labels: np.ndarray, headers: dict[str, str]) -> Response:
    """Return bytes, a label each, row by row; the page has them decompressed by the browser."""
    content = await asyncio.to_thread(lambda: gzip.compress(labels.tobytes(), 1))
    shape = {"x-height": str(labels.shape[0]), "x-width": str(labels.shape[1])}
    headers = headers | shape | {"content-encoding": "gzip"}
    return Response(content, media_type="application/octet-stream", headers=headers)
