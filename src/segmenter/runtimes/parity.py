"""Compare an exported graph with the model in torch."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from segmenter.model import Segmenter
from segmenter.model.segmenter import ImageSize
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.graph_fit import Run

TOLERANCE = 1e-3
"""By how much a logit may differ, and labels only where the two best classes are twice as near."""
BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class Case:
    """One shape that was tried."""

    batch: int
    height: int
    width: int
    largest_difference: float | None
    """Largest difference of a logit; None for a graph that returns labels."""
    label_agreement: float
    """Share of patches, or of pixels of a graph that gives labels, with the same best class."""
    passed: bool


@dataclass(frozen=True)
class Parity:
    """Result of the comparison in one runtime."""

    runtime: str
    cases: tuple[Case, ...]

    @property
    def passed(self) -> bool:
        """Return True if every case agrees."""
        return all(case.passed for case in self.cases)

    @property
    def largest_difference(self) -> float | None:
        """Largest difference of a logit over all cases; None for a graph that returns labels."""
        found = [case.largest_difference for case in self.cases]
        return max((value for value in found if value is not None), default=None)

    @property
    def label_agreement(self) -> float:
        """The smallest over all cases."""
        return min(case.label_agreement for case in self.cases)

    def to_json(self) -> dict[str, Any]:
        """Return all findings as plain values."""
        return {
            "runtime": self.runtime,
            "passed": self.passed,
            "largest_difference": self.largest_difference,
            "label_agreement": self.label_agreement,
            "cases": [asdict(case) for case in self.cases],
        }


def check_parity(model: Segmenter, facts: ExportFacts, run: Run, runtime: str) -> Parity:
    """Compare a graph with the model in torch float32, on three sizes and two batch sizes.

    Args:
        model: On the CPU, in eval mode.
        facts: What the graph takes and gives.
        run: The graph.
        runtime: What to call it.
    """
    cases = [
        _compare(model, facts, run, batch, size)
        for size in trial_sizes(model)
        for batch in BATCH_SIZES
    ]
    return Parity(runtime, tuple(cases))


@torch.inference_mode()
def best_class_agreement(
    model: Segmenter,
    other: Segmenter,
    batches: Iterable[Float[torch.Tensor, "_batch channels _height _width"]] | None = None,
) -> float:
    """Share of patches (or of their cells) to which two models give the same best class, 0 to 1.

    Args:
        model: In eval mode.
        other: A model of the same classes and patches.
        batches: Normalised images; if omitted, noise of the trial sizes.
    """
    if batches is None:
        sizes = trial_sizes(model)
        batches = (model.normalize(_trial_pixels(model, 1, size)) for size in sizes)
    same = total = 0
    for images in batches:
        one, two = (each.patch_logits(images).argmax(dim=1) for each in (model, other))
        same += int((one == two).sum())
        total += one.numel()
    return same / total


def trial_sizes(model: Segmenter) -> list[ImageSize]:
    """Return the size of the position table, and two that are not multiples of the patch."""
    patch = model.spec.encoder.patch_size
    rows, columns = model.spec.encoder.table_grid or (16, 16)
    return [
        (rows * patch, columns * patch),
        (7 * patch + 3, 5 * patch + 1),
        (3 * patch - 1, 11 * patch + 2),
    ]


def _trial_pixels(
    model: Segmenter, batch: int, size: ImageSize
) -> Float[torch.Tensor, "batch channels height width"]:
    """Noise over the range of the images."""
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, model.spec.encoder.in_channels, *size)
    levels = torch.randint(0, 256, shape, generator=generator).float()
    return levels if model.spec.image is None else levels / model.gain.cpu() + model.low.cpu()


@torch.inference_mode()
def _compare(model: Segmenter, facts: ExportFacts, run: Run, batch: int, size: ImageSize) -> Case:
    pixels = _trial_pixels(model, batch, size)
    images = model.normalize(pixels)
    expected = model.patch_logits(images)
    found = run((pixels if facts.normalizes else images).numpy())
    if facts.output == "logits":
        same = found.shape == expected.shape
        difference = float(np.abs(found - expected.numpy()).max()) if same else float("inf")
        agreement = float((found.argmax(1) == expected.numpy().argmax(1)).mean()) if same else 0.0
        return Case(batch, *size, difference, agreement, difference <= TOLERANCE)  # NaN fails
    full = model.upsample(expected, size)
    best = full.argmax(dim=1).numpy()
    if found.shape != best.shape:
        return Case(batch, *size, None, 0.0, passed=False)
    # A class that is given must be as good as the best, but for what rounding may change.
    given = full.gather(1, torch.from_numpy(found.astype(np.int64))[:, None])[:, 0]
    shortfall = float((full.amax(dim=1) - given).max())
    agreement = float((found == best).mean())
    return Case(batch, *size, None, agreement, shortfall <= 2 * TOLERANCE)
