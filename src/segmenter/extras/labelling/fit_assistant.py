"""Proposals that learn from strokes: a classifier on the tokens of a frozen encoder."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Int64, Integer, UInt8
from numpy import ndarray

from segmenter.classes import Classes, ClassInfo
from segmenter.errors import UserError
from segmenter.extras.labelling.assistant import Assistant, LabelledImage, Proposal, shown_shape
from segmenter.fitting.classifier import (
    Basis,
    Classifier,
    Fitter,
    balanced_weights,
    find_basis,
)
from segmenter.fitting.propose import label_pixels
from segmenter.fitting.start import starting_model_for
from segmenter.fitting.tokens import ImageTokens, TokenStore
from segmenter.image_spec import ImageSpec
from segmenter.runtimes.features import feature_runtime

_MAX_KEPT = 4
"""Images whose tokens are kept in memory."""
_MAX_SAMPLES = 400
"""Labelled pixels of an image that are learnt from, while there are few images."""
_MAX_SAMPLES_KEPT = 16000
"""Labelled pixels of all images that are kept; above it, half as many of each image are, evenly
spread over those of each class, and at least one of each."""
_MAX_BASIS_IMAGES = 8
"""Images whose tokens give the basis; it is found anew when their number doubles."""
_MAX_BASIS_TOKENS = 4000
_MAX_LOOKED_AT = 1 << 20
_MAX_FITTED = 8000
"""Labelled pixels of all images: a fit to more takes longer than a person waits."""
_LEAST_COSINE, _MOST_COSINE = 0.1, 0.9


@dataclass(frozen=True)
class _Samples:
    """Labelled pixels of an image."""

    features: Float16[ndarray, "samples dim"] | None
    """None once the basis is final: nothing needs them again."""
    components: Float32[ndarray, "samples components"]
    labels: Int64[ndarray, " samples"]

    def thinned(self, most: int) -> "_Samples":
        """Return at most `most` of them, but one of each class."""
        kept = _spread(self.labels, most)
        features = None if self.features is None else self.features[kept]
        return _Samples(features, self.components[kept], self.labels[kept])


class FitAssistant(Assistant):
    """Fits a classifier to all strokes, and proposes what it says of the rest.

    Args:
        store: Gives the tokens of images.
        encoder: How the user calls what computes them.
    """

    learns = True
    grows = True

    def __init__(self, store: TokenStore, encoder: str) -> None:
        self._store, self._encoder = store, encoder
        self._tokens: OrderedDict[Path, ImageTokens] = OrderedDict()
        self._versions: dict[str, int] = {}
        self._samples: dict[str, _Samples] = {}
        self._most = _MAX_SAMPLES
        self._basis: Basis | None = None
        self._basis_images: dict[Path, Float16[ndarray, "tokens dim"]] = {}
        self._is_basis_final = False
        self._classifier: Classifier | None = None

    def describe(self) -> str:
        """Return one line for the page and the terminal."""
        return f"proposals: fitted to the strokes, on {self._encoder}"

    @property
    def image(self) -> ImageSpec | None:
        """Bands, type and range of the images whose tokens are computed."""
        return self._store.model.spec.image

    def prepare(self, path: Path) -> None:
        """Compute the tokens of an image that is looked at soon."""
        self._read(path)

    def knows(self, name: str) -> int:
        """Return the version of an image that it has learnt from; 0: none."""
        return self._versions.get(name, 0)

    def learn(self, image: LabelledImage, classes: Classes) -> None:
        """Take over what is labelled in an image."""
        pixels = _choose_pixels(image.labels, len(classes), self._most)
        self._samples.pop(image.name, None)
        if len(pixels):
            tokens = self._read(image.path)
            self._widen_basis(image.path, tokens)
            rows, columns = np.divmod(pixels, image.labels.shape[1])
            features = tokens.at(rows, columns)
            labels = image.labels.ravel()[pixels].astype(np.int64)
            self._samples[image.name] = self._project(features.astype(np.float16), labels)
            self._thin_out()
        self._versions[image.name] = image.version

    def propose(self, path: Path, shape: tuple[int, int], classes: Classes) -> Proposal:
        """Fit to all that is labelled, then propose labels for an image.

        Raises:
            UserError: If fewer than two classes have strokes, or the image cannot be read.
        """
        tokens = self._read(path)
        self._widen_basis(path, tokens)  # while the first strokes are still painted
        classifier = self._fit(classes)
        shown = label_pixels(tokens, classifier, shown_shape(shape))
        return Proposal(shown, lambda: label_pixels(tokens, classifier, shape))

    def grow(
        self, path: Path, shape: tuple[int, int], at: tuple[int, int], tolerance: float
    ) -> Bool[ndarray, "height width"]:
        """Return the region around a pixel whose tokens are like those at the pixel."""
        tokens = self._read(path)
        similarity = self._compare(tokens, at)
        height, width = shown_shape(shape)
        finer = cv2.resize(similarity, (width, height), interpolation=cv2.INTER_LINEAR)
        row, column = at[0] * height // shape[0], at[1] * width // shape[1]
        least = _MOST_COSINE + (_LEAST_COSINE - _MOST_COSINE) * tolerance
        alike = finer >= min(least, float(finer[row, column]))
        _, parts = cv2.connectedComponents(alike.astype(np.uint8), connectivity=4)
        region = (parts == parts[row, column]).astype(np.uint8)
        full = cv2.resize(region, shape[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        return full.astype(bool)

    def _compare(
        self, tokens: ImageTokens, at: tuple[int, int]
    ) -> Float32[ndarray, "rows columns"]:
        """Return the cosine of each patch's features with those at a pixel."""
        rows, columns, _ = tokens.grid.shape
        features = tokens.resampled(rows, columns)
        wanted = tokens.at(np.array(at[:1]), np.array(at[1:]))
        mean = features.mean(axis=(0, 1))
        scale = features.std(axis=(0, 1)) + 1e-6
        features, wanted = (features - mean) / scale, (wanted - mean) / scale
        lengths = np.linalg.norm(features, axis=2) * np.linalg.norm(wanted)
        return (features @ wanted[0] / np.maximum(lengths, 1e-6)).astype(np.float32)

    def _fit(self, classes: Classes) -> Classifier:
        """Fit to the samples of all images, at most so many that a fit is quick."""
        kept = list(self._samples.values())
        labels = np.concatenate([each.labels for each in kept]) if kept else np.zeros(0, np.int64)
        present = np.unique(labels)
        if len(present) < 2 or self._basis is None:
            names = f"only {classes.names[present[0]]!r} has" if len(present) else "no class has"
            raise UserError(f"{names} strokes; two classes are needed, so paint one of each")
        chosen = _every(-(-len(labels) // _MAX_FITTED), labels)
        begins = np.cumsum([0, *(len(each.labels) for each in kept)])
        parts = np.split(chosen, np.searchsorted(chosen, begins[1:-1]))
        components = np.concatenate(  # of the chosen ones: all would be copied at each stroke
            [
                each.components[part - begin]
                for each, part, begin in zip(kept, parts, begins, strict=False)
            ]
        )
        labels = labels[chosen]
        fitter = Fitter(self._basis, components, labels, len(classes))
        weights = balanced_weights(labels, len(classes))
        self._classifier = fitter.fit(weights, self._start(classes))
        return self._classifier

    def _widen_basis(self, path: Path, tokens: ImageTokens) -> None:
        """Find the basis anew where the number of images that it is found from doubles."""
        if path in self._basis_images or self._is_basis_final:
            return
        self._basis_images[path] = tokens.grid.reshape(-1, tokens.dim)
        count = len(self._basis_images)
        if count & (count - 1):  # 1, 2, 4 and 8 images
            return
        features = np.concatenate(list(self._basis_images.values()))
        features = features[:: -(-len(features) // _MAX_BASIS_TOKENS)].astype(np.float32)
        self._basis = find_basis(features)
        self._is_basis_final = count == _MAX_BASIS_IMAGES
        if self._is_basis_final:
            self._basis_images.clear()
        self._samples = {
            name: self._project(each.features, each.labels)
            for name, each in self._samples.items()
            if each.features is not None
        }

    def _thin_out(self) -> None:
        """Keep half as many samples of each image where those of all are too many."""
        total = sum(len(each.labels) for each in self._samples.values())
        if total > _MAX_SAMPLES_KEPT and self._most > 1:
            self._most //= 2
            self._samples = {name: each.thinned(self._most) for name, each in self._samples.items()}

    def _project(
        self, features: Float16[ndarray, "samples dim"], labels: Int64[ndarray, " samples"]
    ) -> _Samples:
        assert self._basis is not None
        components = self._basis.project(features.astype(np.float32))
        return _Samples(None if self._is_basis_final else features, components, labels)

    def _start(self, classes: Classes) -> Classifier | None:
        """Return the fit before, where it knows the same classes."""
        before = self._classifier
        return before if before is not None and len(before.bias) == len(classes) else None

    def _read(self, path: Path) -> ImageTokens:
        tokens = self._tokens.get(path)
        if tokens is None:
            tokens = self._tokens[path] = self._store.read(path)
            if len(self._tokens) > _MAX_KEPT:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(path)
        return tokens


def open_fit(start: str, device: torch.device, image: ImageSpec | None = None) -> FitAssistant:
    """Return what fits proposals to the tokens of an encoder.

    Args:
        start: A bundled encoder, an encoder's file, `timm:NAME`, or a whole model.
        device: Where tokens are computed.
        image: Bands, type and range of the images; None: RGB of 8 bits.

    Raises:
        UserError: If the encoder does not exist, or cannot be used.
    """
    any_two = [ClassInfo(name=str(at), color=(at, 0, 0), values=(at,)) for at in (0, 1)]
    classes = Classes(classes=tuple(any_two)).with_image(image)
    model = starting_model_for(start, classes).to(device)
    return FitAssistant(TokenStore(model, runtime=feature_runtime(model)), start)


def _choose_pixels(
    labels: UInt8[ndarray, "height width"], num_classes: int, most: int
) -> Int64[ndarray, " pixels"]:
    """Choose labelled pixels, evenly spread over those of each class."""
    flat = labels.ravel()
    labelled = np.flatnonzero(flat < num_classes)
    labelled = labelled[:: -(-len(labelled) // _MAX_LOOKED_AT) or 1]
    return labelled[_spread(flat[labelled], most)]


def _spread(labels: Integer[ndarray, " samples"], most: int) -> Int64[ndarray, " _"]:
    """Return which of the samples to take: evenly spread over those of each class, one at least."""
    present = np.unique(labels)
    chosen = [np.zeros(0, np.int64)]
    for value in present:
        found = np.flatnonzero(labels == value)
        count = min(len(found), max(most // len(present), 1))
        chosen.append(found[np.linspace(0, len(found) - 1, count).astype(np.int64)])
    return np.concatenate(chosen)


def _every(step: int, labels: Integer[ndarray, " samples"]) -> Int64[ndarray, " _"]:
    """Return the first of each class and every `step`-th after it, in order."""
    by_class = np.argsort(labels, kind="stable")
    in_order = labels[by_class]
    rank = np.arange(len(labels)) - np.searchsorted(in_order, in_order)
    return np.sort(by_class[rank % step == 0])
