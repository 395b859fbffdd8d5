"""One page to look at: every image under its classes, the surest first, the doubtful marked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segmenter.classes import Classes, Color
from segmenter.drawing import shown_classes
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.label_files.image_outputs import IMAGE_COPY, IMAGE_FORMATS, PLAIN_OVERLAY
from segmenter.pages import PAGE_NAME, render_page, shown_names
from segmenter.predicting.images import Result
from segmenter.predicting.sureness import DOUBTFUL_BELOW, SURE_MARGIN

_SHOWN_CLASSES = 6


class _Card(NamedTuple):
    """A labelled image as it is shown."""

    title: str
    image: str
    """File name, as the next two."""
    classes: str
    overlay: str
    result: Result
    shares: list[tuple[str, float]]
    """Name and share of the largest classes."""
    unsure_name: str
    """The class of most pixels that are not sure."""


def write_gallery(
    results: Sequence[Result], model: str, predictor: Predictor, folder: OutputFolder
) -> Path:
    """Write `index.html` into the folder that holds the results; returns its path.

    The page needs no network, and the images lie beside it (`IMAGE_COPY`, `PLAIN_OVERLAY`), so the
    folder can be mailed.

    Args:
        results: Results of images, with their views.
        model: Its name.
        predictor: What labelled the images, in the colours of the pictures.
        folder: Gets the page.
    """
    classes = predictor.classes
    cards = [_card(each, classes) for each in results if each.problem is None]
    cards.sort(key=lambda card: -_sure_share(card))
    values: dict[str, Any] = {
        "sure": [card for card in cards if not _is_doubtful(card)],
        "doubtful": [card for card in cards if _is_doubtful(card)],
        "failed": [each for each in results if each.problem is not None],
        "legend": _legend(results, classes),
        "num_classes": len(classes.classes),
        "class_names": shown_names(classes.names),
        "model": model,
        "spec": predictor.spec,
        "doubtful_below": DOUBTFUL_BELOW,
        "sure_margin": SURE_MARGIN,
    }
    page = render_page("segmenter.predicting", "gallery.html.jinja", **values)
    return folder.write(PAGE_NAME, page)


def _card(result: Result, classes: Classes) -> _Card:
    names = classes.names
    largest = shown_classes(result.shares)[:_SHOWN_CLASSES]
    return _Card(
        result.path.name,
        result.name + IMAGE_COPY.ending,
        result.name + PLAIN_OVERLAY.ending,
        result.name + IMAGE_FORMATS["overlay"].ending,
        result,
        [(names[index], float(result.shares[index])) for index in largest],
        names[result.view.sureness.unsure_label] if result.view else "",
    )


def _legend(results: Sequence[Result], classes: Classes) -> list[tuple[str, Color]]:
    """Return name and colour of the classes that occur, the largest first."""
    total = np.sum([each.shares for each in results], axis=0)
    shown = shown_classes(total / max(len(results), 1))
    return [
        (classes.by_index[index].name, classes.by_index[index].color)
        for index in shown
        if index != classes.background_index
    ]


def _sure_share(card: _Card) -> float:
    return card.result.view.sureness.share if card.result.view else 0.0


def _is_doubtful(card: _Card) -> bool:
    return card.result.view is None or card.result.view.sureness.is_doubtful
