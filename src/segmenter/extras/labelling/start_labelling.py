"""`segmenter label`: the page to make masks, on this machine alone."""

import json
from pathlib import Path
from typing import NamedTuple

from segmenter.checkpoints.license import terms_note
from segmenter.data.decoding.decode import read_header
from segmenter.data.decoding.set_bands import Bands, measured_image_spec, range_lines
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import Assistant, ModelAssistant
from segmenter.extras.labelling.label_folder import LabelFolder, open_label_folder
from segmenter.extras.serving.start_service import check_address, require_service
from segmenter.files.regular import read_regular
from segmenter.image_spec import ImageSpec
from segmenter.inference.predictor import Predictor
from segmenter.options import DEFAULT_START, Compute
from segmenter.runtimes.devices import usable_device
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.terminal import show
from segmenter.text import counted

HOST = "127.0.0.1"


class Proposals(NamedTuple):
    """Source of the proposals on the page."""

    start: str | None = None
    """Encoder or model whose tokens they are fitted to; if None, the default."""
    model: str | None = None
    """Model that proposes its predictions, to be corrected; if None, they are fitted."""


def run_labelling(
    root: Path,
    port: int,
    proposals: Proposals,
    *,
    bands: Bands,
    order: Path | None,
    compute: Compute,
) -> None:
    """Serve the page that labels a folder until the process gets a signal to stop.

    Args:
        root: The folder, with its images in `images`.
        port: Port on loopback.
        proposals: What they come from.
        bands: Bands of the images that are shown and fitted to; if None, RGB of 8 bits where the
            files are that, else all.
        order: What `suggest --json` wrote: these images come first.
        compute: How it is computed.

    Raises:
        UserError: If the extra is missing, the folder cannot be labelled, a model cannot be used,
            or the port is taken.
    """
    require_service("label")
    from segmenter.extras.labelling.label_service import LabelService
    from segmenter.extras.serving.server import run_server
    from segmenter.extras.serving.service_settings import ServiceSettings

    _check_options(proposals, bands)
    names = [] if order is None else _read_order(order)
    with open_label_folder(root) as folder:
        check_address(HOST, port)
        if lost := folder.without_image():
            show(
                f"warning: {len(lost)} masks and records of strokes have no image; the first: "
                f"{lost[0]}; they are kept: restore their images to continue with them"
            )
        for line in folder.renamed:
            show(f"note: {line}")
        print(f"{counted(len(folder.names), 'image')} in {root}")
        if proposals.model is not None:
            assistant = _open_model(proposals.model, folder, compute)
        else:
            assistant = _open_fit(proposals.start, folder, bands, compute)
        print(assistant.describe())
        print(f"label on http://{HOST}:{port}", flush=True)
        settings = ServiceSettings(is_local=True)
        run_server(LabelService(folder, assistant, settings, names), HOST, port)


def _check_options(proposals: Proposals, bands: Bands) -> None:
    if proposals.model is None:
        return
    if proposals.start is not None:
        raise UserError(
            "--from and --model contradict: give --from for proposals that are fitted to the "
            "strokes, or --model for its predictions"
        )
    if bands is not None:
        raise UserError("--bands and --model contradict: a model says which bands it sees")


def _open_fit(start: str | None, folder: LabelFolder, bands: Bands, compute: Compute) -> Assistant:
    """Return what fits proposals to strokes on the images of a folder."""
    from segmenter.extras.labelling.fit_assistant import open_fit

    paths = [folder.image_path(name) for name in folder.names]
    image = measured_image_spec(paths, bands, folder.classes.image if folder.classes else None)
    for line in range_lines(image) if image else ():
        print(line)
    return open_fit(start or DEFAULT_START, usable_device(compute.device), image)


def _check_images(model: str, wanted: ImageSpec | None, folder: LabelFolder) -> None:
    """Refuse, by the first image, images of another kind than a model takes."""
    path = folder.image_path(folder.names[0])
    header = read_header(path)
    is_taken = header.image_type == wanted.file_type if wanted else header.is_rgb
    if not is_taken:
        raise UserError(
            f"{path} has {header.image_type}, and {model} takes {wanted or 'RGB of 8 bits'}; give "
            "a model that was made for such images, or omit --model"
        )


def _read_order(path: Path) -> list[str]:
    """Return the names in a file of `suggest --json`."""
    try:
        content = json.loads(read_regular(path))
        return [str(each["image"]) for each in content["images"]]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} was not written by `segmenter suggest --json`") from None


def _open_model(model: str, folder: LabelFolder, compute: Compute) -> Assistant:
    """Return what proposes a model's predictions; a folder without classes gets the model's."""
    predictor = Predictor(open_runtime(model, compute))
    _check_images(model, predictor.spec.image, folder)
    if note := terms_note(model, predictor.spec.license):
        print(note)
    names = predictor.classes.names
    if folder.classes is not None and not set(names) & set(folder.classes.names):
        raise UserError(
            f"{model} and {folder.root / 'classes.yaml'} have no class in common: {names[0]!r} and "
            f"so on against {folder.classes.names[0]!r} and so on; name the classes alike"
        )
    if folder.classes is None:
        for index, info in enumerate(predictor.classes.by_index):
            folder.add_class(index, info.name, info.color)
    return ModelAssistant(predictor, model)
