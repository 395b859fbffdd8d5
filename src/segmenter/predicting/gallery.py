"""One page to look at: every image beside its overlay, and what the model knows."""

from collections.abc import Sequence
from pathlib import Path

from segmenter.drawing import shown_classes
from segmenter.files.outputs import OutputFolder
from segmenter.model.spec import ModelSpec
from segmenter.pages import PAGE_NAME, render_page
from segmenter.predicting.image_outputs import IMAGE_COPY, IMAGE_FORMATS
from segmenter.predicting.images import Result

_SHOWN_CLASSES = 6


def write_gallery(results: Sequence[Result], spec: ModelSpec, folder: OutputFolder) -> Path:
    """Write `index.html` into the folder that holds the results; returns its path.

    The page needs no network, and the images lie beside it (`IMAGE_COPY`), so the
    folder can be mailed.
    """
    classes = [(info.name, info.color) for info in spec.classes.by_index]
    cards = []
    for result in results:
        if result.problem is not None:
            cards.append({"title": result.path.name, "problem": result.problem})
            continue
        shares = [
            (*classes[index], float(result.shares[index]))
            for index in shown_classes(result.shares)[:_SHOWN_CLASSES]
        ]
        cards.append(
            {
                "title": result.path.name,
                "problem": None,
                "image": result.name + IMAGE_COPY.ending,
                "overlay": result.name + IMAGE_FORMATS["overlay"].ending,
                "seconds": result.seconds,
                "shares": shares,
            }
        )
    values = {"cards": cards, "classes": classes, "spec": spec}
    page = render_page("segmenter.predicting", "gallery.html.jinja", **values)
    return folder.write(PAGE_NAME, page)
