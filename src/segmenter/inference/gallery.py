"""One page to look at: every photo beside its overlay, and what the model knows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from segmenter.data.decode import decode_image
from segmenter.drawing.overlay import encode_jpeg
from segmenter.inference.predict_files import Result, is_usable_name
from segmenter.model.spec import ModelSpec
from segmenter.outputs import OutputFolder

_PAGE = "index.html"
_SHOWN_CLASSES = 6


def gallery_names(images: Sequence[tuple[Path, str]]) -> list[str]:
    """The files that a gallery of these photos adds to their results."""
    return [_PAGE, *(f"{name}_photo.jpg" for _, name in images if is_usable_name(name))]


def write_gallery(results: Sequence[Result], spec: ModelSpec, folder: OutputFolder) -> Path:
    """Write `index.html` into the folder that holds the results; returns its path.

    The page needs no network, and the photos are copied beside it, so the folder can be mailed.
    """
    colors = ["#{:02x}{:02x}{:02x}".format(*info.color) for info in spec.classes.by_index]
    cards = []
    for result in results:
        if result.problem is not None:
            cards.append({"title": result.path.name, "problem": result.problem})
            continue
        overlay = next(path for path in result.outputs if path.name.endswith("_overlay.jpg"))
        stem = overlay.relative_to(folder.root).as_posix().removesuffix("_overlay.jpg")
        photo = folder.write(f"{stem}_photo.jpg", encode_jpeg(decode_image(result.path)))
        largest = np.argsort(-result.shares, kind="stable")[:_SHOWN_CLASSES]
        cards.append(
            {
                "title": result.path.name,
                "photo": photo.relative_to(folder.root).as_posix(),
                "overlay": overlay.relative_to(folder.root).as_posix(),
                "seconds": result.seconds,
                "shares": [
                    (spec.classes.names[i], colors[i], 100 * float(result.shares[i]))
                    for i in largest
                    if result.shares[i] >= 0.0005
                ],
            }
        )
    environment = Environment(loader=PackageLoader("segmenter.inference", "."), autoescape=True)
    page = environment.get_template("gallery.html.jinja").render(
        cards=cards, classes=list(zip(spec.classes.names, colors, strict=True)), spec=spec
    )
    return folder.write(_PAGE, page.encode())
