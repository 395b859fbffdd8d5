"""Multinomial logistic regression on features: the decoder of `segmenter fit`.

The mean cross entropy of the samples plus `strength / 2` times the squared weights of the
standardised features is minimised by L-BFGS. It is convex, so a start only saves time. Biases are
not penalised.

Features are first turned to their principal components, which changes neither loss nor penalty.
The last of them, which hardly vary, are dropped, and each is scaled by its curvature: so a fit
takes a dozen steps instead of a hundred.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, Integer, Shaped
from numpy import ndarray
from torch import Tensor

from segmenter.errors import UserError

STRENGTH = 1e-1
"""Weight of the penalty where nothing chooses it."""
MAX_ITERATIONS = 50
COMPONENTS = 256
"""Principal components that are kept, at most."""
_MAX_BASIS_SAMPLES = 6000
"""Samples that the components are found from: some of all, drawn with a fixed seed."""
_TOLERANCE = 1e-6
"""Largest component of the gradient, and change of the loss, at which the fit ends."""
_HISTORY = 10
_MIN_DEVIATION = 1e-2
_CURVATURE = 0.1
"""Typical curvature of the cross entropy along a component of variance 1."""
_ABSENT_BIAS = -10.0
"""Bias of a class without a sample. The others' logits have a mean of 0, so it is never best."""


@dataclass(frozen=True)
class Basis:
    """Standardised features, turned to their principal components."""

    mean: Float32[ndarray, " dim"]
    deviation: Float32[ndarray, " dim"]
    directions: Float32[ndarray, "dim components"]
    """Orthonormal, the one of the largest variance first."""
    variances: Float32[ndarray, " components"]

    def project(
        self, features: Float[ndarray, "samples dim"]
    ) -> Float32[ndarray, "samples components"]:
        """Return the components of features."""
        standard = torch.from_numpy(features).float() - torch.from_numpy(self.mean)
        standard /= torch.from_numpy(self.deviation)
        return (standard @ torch.from_numpy(self.directions)).numpy()


@dataclass(frozen=True)
class Classifier:
    """A linear classifier of standardised features: `W (x - mean) / deviation + b`."""

    mean: Float32[ndarray, " dim"]
    deviation: Float32[ndarray, " dim"]
    weight: Float32[ndarray, "classes dim"]
    bias: Float32[ndarray, " classes"]

    def logits(self, features: Float[ndarray, "*axes dim"]) -> Float32[ndarray, "*axes classes"]:
        """Score features of any float type, such as `ImageTokens.grid`."""
        weight, bias = self.folded()
        flat = torch.from_numpy(features.reshape(-1, features.shape[-1])).float()
        scores = torch.addmm(torch.from_numpy(bias), flat, torch.from_numpy(weight).T)
        return scores.numpy().reshape(*features.shape[:-1], len(bias))

    def folded(self) -> tuple[Float32[ndarray, "classes dim"], Float32[ndarray, " classes"]]:
        """Return weight and bias for features that are not standardised."""
        weight = self.weight / self.deviation
        return weight, self.bias - weight @ self.mean


def fit_classifier(
    features: Float32[ndarray, "samples dim"],
    labels: Integer[ndarray, " samples"],
    num_classes: int,
    weights: Float[ndarray, " samples"] | None = None,
    start: Classifier | None = None,
    strength: float = STRENGTH,
) -> Classifier:
    """Fit a classifier to samples.

    Args:
        features: Features of the samples.
        labels: Class of each, from 0; classes without a sample are never predicted.
        num_classes: Number of classes.
        weights: Weight of each sample in the loss; if None, all classes weigh alike.
        start: The classifier to start from.
        strength: Weight of the penalty on the weights.

    Raises:
        UserError: If fewer than two classes have samples.

    Example:
        classifier = fit_classifier(samples.features, samples.labels, 3)
    """
    if weights is None:
        weights = balanced_weights(labels, num_classes)
    check_labels(labels, num_classes)
    basis = find_basis(features)
    return Fitter(basis, basis.project(features), labels, num_classes).fit(weights, start, strength)


def find_basis(features: Float[ndarray, "samples dim"], most: int = COMPONENTS) -> Basis:
    """Return the principal components of features, labelled or not.

    Args:
        features: At least one sample.
        most: Components to keep.
    """
    if len(features) > _MAX_BASIS_SAMPLES:  # a step could meet one class only
        places = np.random.default_rng(0).choice(len(features), _MAX_BASIS_SAMPLES, replace=False)
        features = features[np.sort(places)]
    chosen = torch.from_numpy(np.ascontiguousarray(features)).float()
    mean = chosen.mean(dim=0)
    centred = chosen - mean
    deviation = centred.square().mean(dim=0).sqrt().clamp(min=_MIN_DEVIATION)
    standard = centred / deviation
    count, dim = standard.shape
    if count < dim:  # as many directions as samples
        values, vectors = torch.linalg.eigh(standard @ standard.T / count)
        kept = min(most, int((values > values[-1] * 1e-6).sum().clamp(min=1)))
        values, vectors = values[-kept:].flip(0), vectors[:, -kept:].flip(1)
        directions = torch.linalg.qr(standard.T @ vectors).Q
    else:
        values, vectors = torch.linalg.eigh(standard.T @ standard / count)
        values, directions = values[-most:].flip(0), vectors[:, -most:].flip(1)
    return Basis(
        mean.numpy(),
        deviation.numpy(),
        directions.contiguous().numpy(),
        values.clamp(min=0).numpy(),
    )


def check_labels(labels: Integer[ndarray, " samples"], num_classes: int) -> Int64[ndarray, " _"]:
    """Return the classes that have samples.

    Raises:
        UserError: If fewer than two have.
    """
    present = np.flatnonzero(np.bincount(labels, minlength=num_classes))
    if len(present) < 2:
        what = "one class has" if len(present) else "no class has"
        raise UserError(f"{what} labels, and two are needed to tell classes apart; label more")
    return present


class Fitter:
    """Fits classifiers to the same samples, with changing weights.

    Args:
        basis: Basis of the features.
        components: Components of the samples: `basis.project(features)`.
        labels: Class of each, from 0.
        num_classes: Number of classes.
    """

    def __init__(
        self,
        basis: Basis,
        components: Float32[ndarray, "samples components"],
        labels: Integer[ndarray, " samples"],
        num_classes: int,
    ) -> None:
        self.basis, self.labels, self.num_classes = basis, labels, num_classes
        self.components = torch.from_numpy(components)

    def fit(
        self,
        weights: Float[ndarray, " samples"],
        start: Classifier | None = None,
        strength: float = STRENGTH,
    ) -> Classifier:
        """Fit a classifier.

        Args:
            weights: Weight of each sample in the loss; 0 leaves it out.
            start: The classifier to start from.
            strength: Weight of the penalty on the weights.

        Raises:
            UserError: If fewer than two classes have samples that weigh.
        """
        present = check_labels(self.labels[weights > 0], self.num_classes)
        places = np.searchsorted(present, self.labels).clip(max=len(present) - 1)
        shares = torch.from_numpy(np.asarray(weights / weights.sum(), dtype=np.float32))
        scales = torch.from_numpy(self.basis.variances * _CURVATURE + strength).rsqrt()
        problem = _Problem(self.components, torch.from_numpy(places), shares, scales, strength)
        if start is None:
            parameters = problem.start(len(present))
        else:
            parameters = self._parameters(start, present)
            parameters[:, :-1] /= scales
        fitted = problem.minimize(parameters)
        fitted[:, :-1] *= scales
        return self._classifier(fitted, present)

    def logits(self, classifier: Classifier) -> Float32[ndarray, "samples classes"]:
        """Score the samples by a classifier."""
        parameters = self._parameters(classifier, np.arange(self.num_classes))
        return torch.addmm(parameters[:, -1], self.components, parameters[:, :-1].T).numpy()

    def _parameters(
        self, classifier: Classifier, present: Int64[ndarray, " present"]
    ) -> Float[Tensor, "present parameters"]:
        """Return weights of components and bias of some classes, one row for each class."""
        weight, bias = classifier.folded()
        bias = bias + weight @ self.basis.mean
        weight = (weight * self.basis.deviation) @ self.basis.directions
        return torch.from_numpy(np.column_stack([weight, bias])[present])

    def _classifier(
        self, fitted: Float[Tensor, "present parameters"], present: Int64[ndarray, " present"]
    ) -> Classifier:
        fitted = fitted - fitted.mean(dim=0)  # what all classes share, no softmax sees
        directions = torch.from_numpy(self.basis.directions)
        weight = np.zeros((self.num_classes, len(directions)), dtype=np.float32)
        bias = np.full(self.num_classes, _ABSENT_BIAS, dtype=np.float32)
        weight[present] = (fitted[:, :-1] @ directions.T).numpy()
        bias[present] = fitted[:, -1].numpy()
        return Classifier(self.basis.mean, self.basis.deviation, weight, bias)


def balanced_weights(
    labels: Integer[ndarray, " samples"],
    num_classes: int,
    weights: Float[ndarray, " samples"] | None = None,
    balance: float = 1.0,
) -> Float[ndarray, " samples"]:
    """Return the weight of each sample, so that rare classes weigh more than their share.

    Args:
        labels: Class of each sample.
        num_classes: Number of classes.
        weights: Pixels that each sample stands for; if None, one.
        balance: From 0, each pixel weighs alike, to 1, each class does.
    """
    weights = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    of_classes = np.bincount(labels, weights, minlength=num_classes)
    return weights * class_factors(of_classes, balance)[labels]


def class_factors(
    pixels: Shaped[ndarray, " classes"], balance: float
) -> Float64[ndarray, " classes"]:
    """Return the weight of a pixel of each class, 1 for a class without pixels.

    Args:
        pixels: Number or total weight of the pixels of each class.
        balance: As `balanced_weights` takes it.
    """
    return np.where(pixels > 0, pixels, 1.0) ** -balance


@dataclass(frozen=True)
class _Problem:
    """The function to minimise; parameters are the scaled weights of each class, then its bias."""

    components: Float[Tensor, "samples components"]
    labels: Tensor
    shares: Float[Tensor, " samples"]
    """Weight of each sample; they add up to 1."""
    scales: Float[Tensor, " components"]
    """A weight is its parameter times this."""
    strength: float

    def start(self, num_classes: int) -> Float[Tensor, "classes parameters"]:
        """Return parameters that know nothing but how much each class weighs."""
        totals = torch.zeros(num_classes).index_add_(0, self.labels, self.shares)
        start = torch.zeros(num_classes, self.components.shape[1] + 1)
        start[:, -1] = totals.clamp(min=1e-6).log()
        return start

    def minimize(
        self, start: Float[Tensor, "classes parameters"]
    ) -> Float[Tensor, "classes parameters"]:
        """Return the parameters with the lowest loss that L-BFGS finds."""
        parameters = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [parameters],
            max_iter=MAX_ITERATIONS,
            history_size=_HISTORY,
            tolerance_grad=_TOLERANCE,
            tolerance_change=_TOLERANCE,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            loss, parameters.grad = self.loss(parameters.detach())
            return loss

        optimizer.step(closure)
        return parameters.detach()

    def loss(
        self, parameters: Float[Tensor, "classes parameters"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "classes parameters"]]:
        """Return the loss and its gradient."""
        weight, bias = parameters[:, :-1] * self.scales, parameters[:, -1]
        logs = torch.addmm(bias, self.components, weight.T).log_softmax(dim=1)
        loss = -(logs.gather(1, self.labels[:, None])[:, 0] @ self.shares)
        loss += self.strength / 2 * weight.square().sum()
        excess = logs.exp_()
        excess.scatter_add_(1, self.labels[:, None], torch.full_like(excess[:, :1], -1.0))
        excess *= self.shares[:, None]
        gradient = torch.empty_like(parameters)
        of_weights = torch.addmm(weight, excess.T, self.components, beta=self.strength)
        gradient[:, :-1] = of_weights * self.scales
        gradient[:, -1] = excess.sum(dim=0)
        return loss, gradient
