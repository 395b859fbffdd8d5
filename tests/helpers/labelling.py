"""A folder that is labelled, and its page's service on a port of its own."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import uvicorn
from jaxtyping import Bool
from numpy import ndarray
from PIL import Image

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import Assistant, LabelledImage, Proposal
from segmenter.extras.labelling.label_folder import Change, LabelFolder, open_label_folder
from segmenter.extras.labelling.label_service import LabelService
from segmenter.extras.labelling.layers import NOTHING, Stroke
from segmenter.extras.serving.server import make_config
from segmenter.extras.serving.service_settings import ServiceSettings
from tests.helpers.services import make_image
from tests.helpers.waiting import wait_until

_numbers = count()


class Halves(Assistant):
    """Proposes class 0 on the left and class 1 on the right, once an image has labels."""

    learns = grows = True

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.prepared: list[str] = []

    def describe(self) -> str:
        return "halves"

    def prepare(self, path: Path) -> None:
        self.prepared.append(path.stem)

    def knows(self, name: str) -> int:
        return self.versions.get(name, 0)

    def learn(self, image: LabelledImage, classes: Classes) -> None:
        del classes
        self.versions[image.name] = image.version

    def propose(self, path: Path, shape: tuple[int, int], classes: Classes) -> Proposal:
        del path, classes
        if not self.versions:
            raise UserError("no strokes: two classes are needed")
        labels = np.zeros(shape, np.uint8)
        labels[:, shape[1] // 2 :] = 1
        return Proposal(labels, lambda: labels)

    def grow(
        self, path: Path, shape: tuple[int, int], at: tuple[int, int], tolerance: float
    ) -> Bool[ndarray, "height width"]:
        del path, tolerance
        mask = np.zeros(shape, bool)
        mask[at] = True
        return mask


def write_images(root: Path, *names: str, size: tuple[int, int] = (40, 56)) -> Path:
    """A folder with images alone."""
    for seed, name in enumerate(names):
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make_image(*size, seed=seed)).save(path)
    return root


def make_change(image: str, version: int) -> Change:
    """A change with an id of its own."""
    return Change(image, version, f"change-{next(_numbers):08}")


def make_stroke(value: int, *runs: tuple[int, int, int], tool: Any = "brush") -> Stroke:
    """A stroke of runs (row, first column, column after the last)."""
    tool = "eraser" if value == NOTHING else tool
    return Stroke(tool, value, np.array(runs, dtype=np.int32))


def with_classes(folder: LabelFolder, *names: str) -> LabelFolder:
    """The folder, with these classes added."""
    for index, name in enumerate(names, start=len(folder.classes or ())):
        folder.add_class(index, name, None)
    return folder


def read_mask(root: Path, name: str) -> np.ndarray:
    """The values of a mask file."""
    return np.array(Image.open(root / "masks" / f"{name}.png"))


@contextmanager
def labelling(
    root: Path, assistant: Assistant | None = None, order: Sequence[str] = ()
) -> Iterator[SimpleNamespace]:
    """Run the service of a folder in a thread; gives an HTTP client, the folder and the port."""
    with open_label_folder(root) as folder:
        service = LabelService(folder, assistant, ServiceSettings(is_local=True), order)
        server = uvicorn.Server(make_config(service, "127.0.0.1", 0))
        thread = threading.Thread(target=server.run)
        thread.start()
        wait_until(lambda: server.started or not thread.is_alive())
        assert server.started, "the service did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                yield SimpleNamespace(client=client, folder=folder, port=port)
        finally:
            server.should_exit = True
            thread.join(120)
