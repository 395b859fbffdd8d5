"""Suggest which images of a folder to label next, and say why."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.checkpoints.license import terms_note
from segmenter.data.pairing.find_images import find_images
from segmenter.errors import UserError
from segmenter.extras.labelling.label_folder import find_image_folder
from segmenter.extras.labelling.mask_files import find_masks
from segmenter.extras.suggesting.order import choose_order, typical_distance
from segmenter.extras.suggesting.suggest_page import write_page
from segmenter.extras.suggesting.suggestion import Suggestion
from segmenter.files.outputs import OutputFolder, check_new, write_json
from segmenter.fitting.tokens import TokenStore
from segmenter.inference.predictor import Predictor
from segmenter.options import Device, SuggestOutput
from segmenter.pages import PAGE_NAME
from segmenter.runtimes.features import feature_runtime
from segmenter.terminal import timed_progress
from segmenter.text import visible

_LEAST_UNCERTAINTY = 0.05
"""Below, one pixel in twenty is expected to be wrong at most: the model is sure, whatever it says
of other images. Pixels beside borders alone make that many."""
_LEAST_DISTANCE = 0.05
"""A nearer image is a copy, or nearly one, whatever the others are."""


def run_suggest(data: Path, model: str, most: int, device: Device, output: SuggestOutput) -> None:
    """Print which images to label next.

    Args:
        data: The data set, with its images in `images`.
        model: A model with weights, such as one that was fitted to what is labelled so far.
        most: Images to suggest.
        device: Where to compute.
        output: Files to write, if any.

    Raises:
        UserError: If the folder holds no image without a mask, or the model cannot be used.
    """
    report = OutputFolder(output.report, overwrite=output.overwrite) if output.report else None
    if report is not None:
        report.check([PAGE_NAME])
    if output.json is not None:
        check_new(output.json, overwrite=output.overwrite)
    unlabelled, labelled = _split(data)
    predictor = _open(model, device.device)
    suggestions = suggest(unlabelled, labelled, predictor, most)
    for place, each in enumerate(suggestions, start=1):
        print(
            f"{place:4}. {visible(each.image)}: {each.reason} (confidence "
            f"{100 * (1 - each.uncertainty):.0f} %, distance {each.distance:.2f})"
        )
    if output.json is not None:  # before the page, which reads the images once more
        content: dict[str, Any] = {"model": model, "images": [asdict(each) for each in suggestions]}
        write_json(output.json, content, overwrite=output.overwrite)
        print(f"written: {output.json}; `segmenter label {data} --order {output.json}` follows it")
    if report is not None:
        page = write_page(suggestions, unlabelled, model, predictor, data, report)
        print(f"written: {page}")


def suggest(
    unlabelled: Mapping[str, Path],
    labelled: Mapping[str, Path],
    predictor: Predictor,
    most: int,
) -> list[Suggestion]:
    """Return the images that are worth most to label, the best first.

    Args:
        unlabelled: Images without a mask, by name.
        labelled: Images with one.
        predictor: Predictor of a model with weights.
        most: Images to suggest.

    Raises:
        UserError: If an image cannot be read.
    """
    model = predictor.model
    store = TokenStore(model, runtime=feature_runtime(model))
    features: dict[str, np.ndarray] = {}
    uncertainty = []
    with timed_progress("images", len(unlabelled) + len(labelled)) as advance:
        for name, path in (*unlabelled.items(), *labelled.items()):
            features[name] = store.read(path).grid.mean(axis=(0, 1), dtype=np.float32)
            if name in unlabelled:
                uncertainty.append(1 - float(predictor.confidence(path).mean()))
            advance()
    doubts = np.array(uncertainty)
    dim = len(next(iter(features.values())))
    known = np.array([features[name] for name in labelled], np.float32).reshape(-1, dim)
    new = np.array([features[name] for name in unlabelled], np.float32)
    choices = choose_order(doubts, new, known, most)
    names = list(unlabelled)
    typical = (
        max(float(np.median(doubts)), _LEAST_UNCERTAINTY),
        max(typical_distance(new, known), _LEAST_DISTANCE),
    )
    return [
        Suggestion(
            names[each.index],
            float(doubts[each.index]),
            each.distance,
            _reason(
                float(doubts[each.index]) >= typical[0],
                each.distance >= typical[1],
                bool(labelled),
            ),
        )
        for each in choices
    ]


def _open(model: str, device: str) -> Predictor:
    """Open a model with weights, and show its terms."""
    predictor = Predictor(model, device=device)
    if note := terms_note(model, predictor.spec.license):
        print(note)
    return predictor


def _split(data: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the images without a mask, and those with one."""
    if not data.is_dir():
        raise UserError(f"no such folder: {data}; give a folder with images in {data}/images")
    found = find_images([str(find_image_folder(data))])
    masks = find_masks(data, {name: path for path, name in found})
    labelled = {name: path for path, name in found if masks.find(name, path.name) is not None}
    unlabelled = {name: path for path, name in found if name not in labelled}
    if not unlabelled:
        raise UserError(f"every image of {data} has a mask; none is left to label")
    return unlabelled, labelled


def _reason(is_unsure: bool, is_new: bool, has_labelled: bool) -> str:
    others = "labelled images and those ranked before" if has_labelled else "those ranked before"
    if is_unsure:
        return f"the model is unsure; it differs from {others}" if is_new else "the model is unsure"
    if is_new:
        return f"it differs from {others}"
    return f"little to learn: the model is rather sure, and it is similar to {others}"
