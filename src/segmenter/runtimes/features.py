"""The features that a model's encoder computes, by the fastest installed runtime.

Features are what the decoder takes. OpenVINO computes them from a graph of the encoder alone, so
models that share an encoder share the compiled graph in the cache.
"""

import json
from abc import ABC, abstractmethod
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segmenter.checkpoints.digests import digest
from segmenter.errors import UserError
from segmenter.files.cache import MAX_CONTENT, cached
from segmenter.model import Segmenter
from segmenter.runtimes.devices import full_float32
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.graph_fit import Run
from segmenter.runtimes.sources import graph_makers
from segmenter.runtimes.table import automatic_runtime


class FeatureRuntime(ABC):
    """Turns pixels into features of patches.

    Args:
        model: Its encoder computes the blocks that its decoder takes.
    """

    precision: str
    """The arithmetic, `float32` or `bfloat16`."""

    def __init__(self, model: Segmenter) -> None:
        self.model = model.eval()

    @abstractmethod
    def __call__(
        self, pixels: Shaped[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim rows columns"]:
        """Compute the features of images with pixels of 0 to 255."""

    @abstractmethod
    def describe(self) -> str:
        """Return one line that says what computes."""


class TorchFeatures(FeatureRuntime):
    """Features by torch, on the device of the model."""

    precision = "float32"

    @torch.inference_mode()
    def __call__(
        self, pixels: Shaped[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim rows columns"]:
        """Compute the features of images with pixels of 0 to 255."""
        device = self.model.mean.device
        with full_float32(device):
            return self.model.feature_maps(self.model.normalize(pixels.to(device)))

    def describe(self) -> str:
        """Return one line that says what computes."""
        return f"torch {torch.__version__}, float32, on {self.model.mean.device}"


class OpenVinoFeatures(FeatureRuntime):
    """Features by OpenVINO, on the CPU; the graph is compiled at the first image, and kept.

    Args:
        model: Its encoder computes the blocks that its decoder takes.
        precision: As `usable_precision` takes it.
    """

    def __init__(self, model: Segmenter, precision: str = "auto") -> None:
        from segmenter.runtimes.openvino import usable_precision

        super().__init__(model)
        self.precision = usable_precision(precision)

    def __call__(
        self, pixels: Shaped[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim rows columns"]:
        """Compute the features of images with pixels of 0 to 255."""
        return torch.from_numpy(self._run(pixels.float().contiguous().numpy()))

    def describe(self) -> str:
        """Return one line that says what computes."""
        import openvino

        return f"openvino {openvino.__version__.split('-')[0]}, {self.precision}, on cpu"

    @cached_property
    def _run(self) -> Run:
        from segmenter.runtimes.openvino import compile_cached

        key = json.dumps([encoder_key(self.model), graph_makers()], sort_keys=True)
        num_bytes = 4 * sum(each.numel() for each in self.model.encoder.parameters())
        most = min(2 * num_bytes + (1 << 26), MAX_CONTENT)
        make = lambda: to_onnx(self.model, "features").SerializeToString()  # noqa: E731
        return compile_cached(
            key,
            lambda use: cached(f"features {key}", make, use, max_bytes=most),
            self.precision,
            most,
            None,
        )


def feature_runtime(model: Segmenter) -> FeatureRuntime:
    """Return what computes the features of a model's encoder fastest, of what is installed.

    Example:
        features = feature_runtime(model)(pixels)  # uint8 (1, 3, 560, 560) -> (1, 1152, 40, 40)
    """
    if automatic_runtime(model.mean.device.type).name == "openvino":
        try:
            return OpenVinoFeatures(model)
        except (ImportError, UserError):  # OpenVINO does not run on this machine
            pass
    return TorchFeatures(model)


def encoder_key(model: Segmenter) -> list[object]:
    """Return all that the features depend on, besides the pixels and what computes them."""
    spec = model.spec
    described = spec.model_dump(mode="json", include={"encoder", "size_policy", "normalization"})
    if spec.image is not None:
        described["image"] = spec.image.model_dump(mode="json")
    # Class tokens that go through the encoder change the features of patches.
    computing = model if model.decoder.num_query_blocks else model.encoder
    weights = digest(sorted(computing.state_dict().items()), described).content
    return [weights, list(model.decoder.out_indices), spec.decoder.encoder_passes]
