"""Labelled pixels as samples: a few of each class from each image, with their features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.folder import Item, check_sizes, read_labels
from segmenter.errors import UserError
from segmenter.fitting.tokens import ImageTokens, TokenStore

MAX_SAMPLES = 40_000
"""Samples of all images together: 184 MB, with 1152 features each."""
_ENOUGH_SAMPLES = 12_000
"""More cost time and hardly change a fit; each class of each image gives one all the same."""


@dataclass(frozen=True)
class Samples:
    """Labelled pixels of one image or of several."""

    features: Float32[ndarray, "samples dim"]
    labels: Int64[ndarray, " samples"]
    weights: Float32[ndarray, " samples"]
    """Labelled pixels that each sample stands for."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)


def sample_images(
    store: TokenStore,
    items: Sequence[Item],
    classes: Classes,
    pixel_counts: Int64[ndarray, "images classes"],
    on_image: Callable[[], None] = lambda: None,
) -> list[Samples]:
    """Draw labelled pixels of images, and keep the tokens of all in the store.

    The samples are at most `MAX_SAMPLES`, as `plan_quotas` divides them; all of a class stand for
    all of its pixels.

    Args:
        store: Gives the tokens.
        items: Images with masks.
        classes: Classes of the masks.
        pixel_counts: Labelled pixels of each class in each image.
        on_image: Called after each image.

    Raises:
        UserError: If an image or a mask cannot be read, or their sizes differ.
    """
    quotas = plan_quotas(pixel_counts)
    sampled = np.where(quotas > 0, pixel_counts, 0).sum(axis=0)
    factors = (pixel_counts.sum(axis=0) / np.maximum(sampled, 1)).astype(np.float32)

    def sample() -> Iterator[Samples]:
        for item, of_image in zip(items, quotas, strict=True):
            tokens, labels = store.read(item.image), read_labels(item, classes)
            check_sizes(item, tokens.size, (labels.shape[0], labels.shape[1]))
            samples = sample_pixels(tokens, labels, of_image)
            yield replace(samples, weights=samples.weights * factors[samples.labels])
            on_image()

    return gather(sample(), int(quotas.sum()))


def plan_quotas(pixel_counts: Int64[ndarray, "images classes"]) -> Int64[ndarray, "images classes"]:
    """Return how many pixels of each class to draw from each image.

    Images share `_ENOUGH_SAMPLES` evenly, and classes the share of their image, but each of them
    gives one sample. Where these would be more than `MAX_SAMPLES`, classes that many images show
    are drawn from some of these images only; a rare class keeps its samples.

    Args:
        pixel_counts: Labelled pixels of each class in each image.

    Example:
        plan_quotas(np.array([[5000, 3], [800, 0]]))  # [[5000, 3], [800, 0]]
    """
    num_images, num_classes = pixel_counts.shape
    share = max(_ENOUGH_SAMPLES // num_images, num_classes)
    quotas = np.stack([_divide(each, share) for each in pixel_counts])
    rng = np.random.default_rng(0)
    for index, kept in enumerate(_divide(quotas.sum(axis=0), MAX_SAMPLES)):
        of_images = np.repeat(np.arange(num_images), quotas[:, index])
        drawn = rng.choice(of_images, kept, replace=False)
        quotas[:, index] = np.bincount(drawn, minlength=num_images)
    return quotas


def count_pixels(
    labels: Shaped[ndarray, "height width"], num_classes: int
) -> Int64[ndarray, " classes"]:
    """Return how many pixels each class has; all other values are not labelled."""
    return np.bincount(labels[(labels >= 0) & (labels < num_classes)], minlength=num_classes)


def sample_pixels(
    tokens: ImageTokens,
    labels: Shaped[ndarray, "height width"],
    quotas: Int64[ndarray, " classes"],
    seed: int = 0,
) -> Samples:
    """Draw labelled pixels of an image; those of a class stand for all its pixels there.

    Args:
        tokens: Tokens of the image.
        labels: Class indices; all else, such as the ignored value, is not labelled.
        quotas: Pixels to draw of each class; of one that has fewer, all are drawn.
        seed: Seed of the draw.

    Raises:
        UserError: If the labels are not of the image's size.
    """
    if labels.shape != tokens.size:
        raise UserError(
            f"labels of {labels.shape[0]} x {labels.shape[1]} for an image of "
            f"{tokens.size[0]} x {tokens.size[1]} pixels (height x width)"
        )
    flat, counts = labels.ravel(), count_pixels(labels, len(quotas))
    quotas = np.minimum(quotas, counts)
    pixels = _draw(flat, quotas, seed)
    rows, columns = np.divmod(pixels, labels.shape[1])
    weights = np.repeat(counts / np.maximum(quotas, 1), quotas).astype(np.float32)
    return Samples(tokens.at(rows, columns), flat[pixels].astype(np.int64), weights)


def gather(samples: Iterable[Samples], most: int) -> list[Samples]:
    """Keep the samples of images as they come, their features in one array.

    Each array of its own would stay between the tokens of two images, so that memory of tokens that
    are not needed any more could not be used again: it would grow by the tokens of each image.

    Args:
        samples: Samples of each image.
        most: Samples of all images together, at most.
    """
    kept: list[Samples] = []
    features, begin = np.empty((0, 0), np.float32), 0
    for each in samples:
        if not kept:
            features = np.empty((most, each.features.shape[1]), np.float32)
        own = features[begin : begin + len(each)]
        own[:] = each.features
        kept.append(replace(each, features=own))
        begin += len(each)
    return kept


def join(samples: Sequence[Samples]) -> Samples:
    """Return the samples of several images, one image after the other."""
    return Samples(
        np.concatenate([each.features for each in samples]),
        np.concatenate([each.labels for each in samples]),
        np.concatenate([each.weights for each in samples]),
    )


def thin(samples: Samples, num_classes: int, most: int) -> tuple[Samples, Int64[ndarray, " kept"]]:
    """Keep some samples, as many of each class as there are; all of a class weigh what they did.

    Args:
        samples: Samples of several images, one image after the other.
        num_classes: Number of classes.
        most: Samples to keep, divided evenly among the classes; at least one for each.

    Returns:
        The samples, and their places among those given, in order: all, if there are at most `most`.
    """
    counts = np.bincount(samples.labels, minlength=num_classes)
    places = np.sort(_draw(samples.labels, _divide(counts, most)))
    labels, weights = samples.labels[places], samples.weights[places]
    before = np.bincount(samples.labels, samples.weights, minlength=num_classes)
    after = np.bincount(labels, weights, minlength=num_classes)
    factors = before / np.where(after > 0, after, 1.0)
    weights = weights * factors[labels].astype(np.float32)
    return Samples(samples.features[places], labels, weights), places


def _draw(
    labels: Shaped[ndarray, " places"], quotas: Int64[ndarray, " classes"], seed: int = 0
) -> Int64[ndarray, " drawn"]:
    """Draw places of each class, spread over all of its places, one class after the other.

    Args:
        labels: Class of each place; values that are no class are left out.
        quotas: Places to draw of each class, at most as many as it has.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(quotas) + 1))
    drawn = [np.zeros(0, np.int64)]
    for start, end, quota in zip(ends[:-1], ends[1:], quotas, strict=True):
        if quota:
            drawn.append(order[start + _spread(int(end - start), int(quota), rng)])
    return np.concatenate(drawn)


def _divide(counts: Int64[ndarray, " classes"], most: int) -> Int64[ndarray, " classes"]:
    """Divide samples among classes; what a small class cannot give, others do."""
    quotas = np.zeros_like(counts)
    present = [index for index in np.argsort(counts, kind="stable") if counts[index]]
    for place, index in enumerate(present):
        quotas[index] = min(int(counts[index]), most // (len(present) - place))
        most -= int(quotas[index])
    return quotas


def _spread(count: int, quota: int, rng: np.random.Generator) -> Int64[ndarray, " quota"]:
    """Draw one of each of `quota` equal parts of a range: spread over the image, row by row."""
    edges = np.linspace(0, count, quota + 1)
    return np.minimum((edges[:-1] + rng.random(quota) * np.diff(edges)).astype(np.int64), count - 1)
