"""`segmenter label`: the page to make masks, on this machine alone."""

import json
from pathlib import Path

from segmenter.checkpoints.license import terms_note
from segmenter.data.decoding.set_bands import find_image_spec
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import Assistant, ModelAssistant
from segmenter.extras.labelling.label_folder import LabelFolder, open_label_folder
from segmenter.extras.serving.start_service import check_address, require_service
from segmenter.files.regular import read_regular
from segmenter.inference.predictor import Predictor
from segmenter.options import DEFAULT_START, Compute
from segmenter.runtimes.devices import usable_device
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.terminal import show

HOST = "127.0.0.1"


def run_labelling(
    root: Path,
    port: int,
    *,
    start: str | None,
    model: str | None,
    order: Path | None,
    compute: Compute,
) -> None:
    """Serve the page that labels a folder until the process gets a signal to stop.

    Args:
        root: The folder, with its images in `images`.
        port: Port on loopback.
        start: Encoder or model whose tokens the proposals are fitted to; if None, the default.
        model: Proposes its predictions, to be corrected; if None, proposals are fitted.
        order: What `suggest --json` wrote: these images come first.
        compute: How it is computed.

    Raises:
        UserError: If the extra is missing, the folder cannot be labelled, a model cannot be used,
            or the port is taken.
    """
    require_service("label")
    from segmenter.extras.labelling.fit_assistant import open_fit
    from segmenter.extras.labelling.label_service import LabelService
    from segmenter.extras.serving.server import run_server
    from segmenter.extras.serving.service_settings import ServiceSettings

    if start is not None and model is not None:
        raise UserError(
            "--from and --model contradict: give --from for proposals that are fitted to the "
            "strokes, or --model for its predictions"
        )
    names = [] if order is None else _read_order(order)
    with open_label_folder(root) as folder:
        check_address(HOST, port)
        _check_images(folder)
        if lost := folder.without_image():
            show(
                f"warning: {len(lost)} masks and records of strokes have no image; the first: "
                f"{lost[0]}; they are kept: bring their images back to go on with them"
            )
        if model is None:
            assistant = open_fit(start or DEFAULT_START, usable_device(compute.device))
        else:
            assistant = _open_model(model, folder, compute)
        print(f"{len(folder.names)} images in {root}")
        print(assistant.describe())
        print(f"label on http://{HOST}:{port}", flush=True)
        service = LabelService(folder, assistant, ServiceSettings(is_local=True), names)
        run_server(service, HOST, port)


def _check_images(folder: LabelFolder) -> None:
    """Refuse, by the first image, images that the page cannot show.

    Raises:
        UserError: If they are not grey or RGB.
    """
    given = folder.classes.image if folder.classes else None
    paths = [folder.image_path(name) for name in folder.names[:1]]
    if image := find_image_spec(paths, None, given):
        raise UserError(
            f"the images of {folder.root} have {image.file_type}, and the page shows RGB of 8 "
            "bits; label copies with three of the bands, such as those of `gdal_translate -ot Byte "
            "-scale -b 1 -b 2 -b 3`, and move the masks"
        )


def _read_order(path: Path) -> list[str]:
    """The names in a file of `suggest --json`."""
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
    predictor.spec.require_rgb("proposals on the page", "train or fit one on three of the bands")
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
