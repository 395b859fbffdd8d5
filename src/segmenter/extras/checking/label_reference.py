"""References that labels are compared with: a model, or fits that do not know the image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import read_labels
from segmenter.data.masks.region_widths import SizeFacts, region_widths
from segmenter.data.pairing.items import Item
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import read_like
from segmenter.fitting.classifier import Classifier
from segmenter.fitting.left_out import fit_folds
from segmenter.fitting.propose import label_pixels, probability_rows
from segmenter.fitting.samples import count_pixels, sample_images
from segmenter.fitting.start import prepare_start, spread
from segmenter.fitting.tokens import TokenStore
from segmenter.inference.predictor import Predictor
from segmenter.runtimes.features import feature_runtime
from segmenter.terminal import timed_progress

Image = Shaped[ndarray, "height width channels"]
Probabilities = Iterator[tuple[slice, Float[ndarray, "classes rows width"]]]
"""Probability of each class, some rows at a time, from top to bottom."""
_MAX_FITTED = 400
"""Images that the fits are made of, at most: evenly spread."""


@runtime_checkable
class LabelReference(Protocol):
    """Gives probabilities of the classes of a data set."""

    @property
    def name(self) -> str:
        """Return its name for the user."""
        ...

    def reading(self, classes: Classes) -> Classes:
        """Return the classes of the data, with images read as the reference needs them."""
        ...

    def rows(self, item: Item, image: Image) -> Probabilities:
        """Yield the probabilities of an image.

        Raises:
            UserError: If it cannot say anything about this image.
        """
        ...

    def labels(self, item: Item, image: Image) -> Shaped[ndarray, "height width"]:
        """Return the most probable classes of an image."""
        ...


@dataclass(frozen=True)
class ModelReference:
    """A model with the classes of the data."""

    predictor: Predictor
    name: str

    def reading(self, classes: Classes) -> Classes:
        """Return the classes of the data, with images read as the model reads them."""
        return read_like(self.predictor, classes)

    def rows(self, item: Item, image: Image) -> Probabilities:  # noqa: ARG002
        """Yield the probabilities of an image."""
        for rows, found in self.predictor.rows(image, "probabilities"):
            yield rows, found["probabilities"]

    def labels(self, item: Item, image: Image) -> Shaped[ndarray, "height width"]:  # noqa: ARG002
        """Return the labels that the model predicts."""
        return self.predictor(image)


@dataclass(frozen=True)
class FitReference:
    """Fits to a data set, each of which does not know a part of the images."""

    store: TokenStore
    fits: dict[Item, Classifier]
    """The fit that leaves out an image and its neighbours, by image."""
    name: str = "a fit to the other images"

    def reading(self, classes: Classes) -> Classes:
        """Return the classes as they are."""
        return classes

    def rows(self, item: Item, image: Image) -> Probabilities:  # noqa: ARG002 - by its file
        """Yield the probabilities of an image."""
        return probability_rows(self.store.read(item.image), self.fits[item])

    def labels(self, item: Item, image: Image) -> Shaped[ndarray, "height width"]:  # noqa: ARG002
        """Return the most probable classes of an image."""
        return label_pixels(self.store.read(item.image), self.fits[item])


def fit_reference(
    items: Sequence[Item],
    classes: Classes,
    root: str,
    start: str,
    device: torch.device,
    log: Callable[[str], None],
) -> FitReference:
    """Fit to a data set in folds, as `segmenter fit` does for its estimate.

    At most 400 images are learnt from, so the memory does not grow with the data set. Images in
    between are predicted by the fit that does not know those around them.

    Args:
        items: Images and masks that the check found no error in, in an order in which neighbours
            are alike, such as that of names.
        classes: Classes of the data.
        root: The data set.
        start: The encoder, as for `segmenter fit`.
        device: Where tokens are computed.
        log: Shows what was loaded and chosen.

    Raises:
        UserError: If fewer than two images, or fewer than two classes, have labels, or a file
            cannot be read any more.
    """
    places, sizes, widths, counts = [], [], [], []
    for place in spread(len(items), _MAX_FITTED):
        labels = read_labels(items[place], classes)
        pixels = count_pixels(labels, len(classes))
        if pixels.any():
            counts.append(pixels)
            places.append(place)
            sizes.append(labels.shape)
            widths.append(region_widths(labels, len(classes)))
    if len(places) < 2:
        raise UserError(
            f"doubtful labels need two images with labels without a model, and {root} has "
            f"{len(places)}; label more, or give --model"
        )
    facts = SizeFacts(np.array(sizes), np.stack(widths))
    prepared = prepare_start(start, root, classes, facts)
    runtime = feature_runtime(prepared.model.to(device))
    for line in (*prepared.lines, f"tokens by {runtime.describe()}"):
        log(line)
    store = TokenStore(prepared.model, runtime=runtime)
    fits = _left_out(store, [items[place] for place in places], classes, np.stack(counts))
    # Images before the first and after the last go with these.
    owners = np.searchsorted(places, np.arange(len(items)), side="right").clip(min=1) - 1
    return FitReference(store, {each: fits[at] for each, at in zip(items, owners, strict=True)})


def _left_out(
    store: TokenStore,
    items: Sequence[Item],
    classes: Classes,
    pixel_counts: Int64[ndarray, "images classes"],
) -> tuple[Classifier, ...]:
    """Return for each image the fit that does not know it."""
    with timed_progress(f"fitting to {len(items)} images", len(items)) as advance:
        samples = sample_images(store, items, classes, pixel_counts, advance)
    fits = fit_folds(samples, len(classes)).left_out
    known = tuple(each for each in fits if each is not None)
    if len(known) < len(fits):
        raise UserError(
            "doubtful labels need two classes in the labels of the other images, whichever image "
            "is left out; label more, or give --model"
        )
    return known
