"""One page to look at: every image beside its overlay, and what the model knows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader

from segmenter.files.outputs import OutputFolder
from segmenter.model.spec import ModelSpec
from segmenter.predicting.images import Result
from segmenter.predicting.outputs import IMAGE_ENDING
from segmenter.text import for_page

PAGE = "index.html"
_SHOWN_CLASSES = 6


def write_gallery(results: Sequence[Result], spec: ModelSpec, folder: OutputFolder) -> Path:
    """Write `index.html` into the folder that holds the results; returns its path.

    The page needs no network, and the images lie beside it (`ImageOutputs.copies_image`), so the
    folder can be mailed.
    """
    colors = ["#{:02x}{:02x}{:02x}".format(*info.color) for info in spec.classes.by_index]
    cards = []
    for result in results:
        if result.problem is not None:
            cards.append({"title": result.path.name, "problem": result.problem})
            continue
        largest = np.argsort(-result.shares, kind="stable")[:_SHOWN_CLASSES]
        cards.append(
            {
                "title": result.path.name,
                "image": result.name + IMAGE_ENDING,
                "overlay": f"{result.name}_overlay.jpg",
                "seconds": result.seconds,
                "shares": [
                    (spec.classes.names[i], colors[i], 100 * float(result.shares[i]))
                    for i in largest
                    if result.shares[i] >= 0.0005
                ],
            }
        )
    environment = Environment(
        loader=PackageLoader("segmenter.predicting", "."), autoescape=True, finalize=for_page
    )
    page = environment.get_template("gallery.html.jinja").render(
        cards=cards, classes=list(zip(spec.classes.names, colors, strict=True)), spec=spec
    )
    return folder.write(PAGE, page.encode())
