"""The interface of runtimes, which compute patch logits from pixels.

A new runtime is a class with this interface in a file of its own, and a row in
`runtimes/table.py`. One that computes a graph derives from `GraphRuntime`
(`runtimes/graph_runtime.py`) instead.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segmenter.model import ModelSpec, Segmenter
from segmenter.model.mask_scores import MaskScores
from segmenter.options import Compute
from segmenter.runtimes.devices import device_line

Pixels = Shaped[Tensor, "batch channels height width"]
PatchLogits = Float[Tensor, "batch classes rows columns"]


class Runtime(ABC):
    """Turns pixels into patch logits; holds one model, on one device.

    Args:
        model: A model, or the file of one; an exported file only where the row `opens` it.
        compute: How it is computed, in a precision that `settle_precision` gave; with a merge
            threshold only where the row says that the runtime `merges_tokens`.
        device: Where to compute; of a type that the row names.

    Raises:
        UserError: If the model cannot be read, or the runtime cannot compute it.
    """

    name: str
    spec: ModelSpec
    device: torch.device
    _compute: Compute

    @abstractmethod
    def __init__(self, model: Segmenter | Path, compute: Compute, device: torch.device) -> None: ...

    @staticmethod
    @abstractmethod
    def settle_precision(precision: str, device: torch.device) -> str:
        """Return the precision to compute in: `auto` resolved for a device, or as given.

        Raises:
            UserError: If the device lacks the precision asked for.
        """

    @property
    def precision(self) -> str:
        """The arithmetic, `float32` or `bfloat16`."""
        return str(self._compute.precision)

    @property
    def merge_threshold(self) -> float | None:
        """The cosine above which tokens are merged; None: none are."""
        return self._compute.merge_threshold

    @property
    @abstractmethod
    def version(self) -> str:
        """The version of the library that computes."""

    @property
    @abstractmethod
    def model(self) -> Segmenter:
        """The model in torch; where the runtime holds a graph, it is read at the first request."""

    @property
    def has_model(self) -> bool:
        """True if `model` is available; an exported file holds no weights for torch."""
        return True

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 of weights and spec, or of an exported graph."""

    @abstractmethod
    def patch_logits(self, pixels: Pixels) -> PatchLogits:
        """Score every patch of images with pixels of 0 to 255."""

    @property
    def gives_masks(self) -> bool:
        """True if `mask_scores` is available."""
        return self.spec.classifies_masks

    @abstractmethod
    def mask_scores(self, pixels: Pixels) -> MaskScores:
        """Return what the scores of images are summed from; see `gives_masks`."""

    def scores(self, pixels: Pixels) -> PatchLogits | MaskScores:
        """Score images with pixels of 0 to 255 as inference takes it: in few numbers."""
        return self.mask_scores(pixels) if self.gives_masks else self.patch_logits(pixels)

    def describe(self) -> str:
        """Return one line that says what computes: `openvino 2026.4.1, bfloat16, on cpu`."""
        line = f"{self.name} {self.version}, {self.precision}, on {self.device}"
        if self.merge_threshold is not None:
            line += f", tokens merged above a cosine of {self.merge_threshold}"
        return line

    def describe_device(self) -> str:
        """Return the line that says where is computed, and why there; see `device_line`."""
        return device_line(self.device, self._compute.device, self.name)
