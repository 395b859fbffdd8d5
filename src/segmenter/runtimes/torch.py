"""The model itself in torch: eager, or compiled for each new shape."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from segmenter.checkpoints import load
from segmenter.checkpoints.digests import digest_model
from segmenter.errors import UserError
from segmenter.model import Segmenter
from segmenter.model.mask_scores import MaskScores
from segmenter.model.token_merging import (
    check_threshold,
    merged_mask_scores,
    merged_patch_logits,
)
from segmenter.options import Compute
from segmenter.runtimes.devices import full_float32, has_bfloat16
from segmenter.runtimes.runtime import PatchLogits, Pixels, Runtime


class TorchRuntime(Runtime):
    """The model itself; with a threshold, tokens are merged in it."""

    name = "torch"

    def __init__(self, model: Segmenter | Path, compute: Compute, device: torch.device) -> None:
        if compute.merge_threshold is not None:
            check_threshold(compute.merge_threshold)
        loaded = model if isinstance(model, Segmenter) else load(model, device)
        _check_dtypes(loaded)
        if compute.merge_threshold is not None and loaded.spec.decoder.encoder_passes > 1:
            raise UserError(
                "tokens of shifted views cannot be merged; omit merge_threshold, or fit the model "
                "with --shifts 1"
            )
        self._model = loaded.to(device).eval()
        self.spec = loaded.spec
        self.device = device
        self._compute = compute

    @staticmethod
    def settle_precision(precision: str, device: torch.device) -> str:
        """Return bfloat16 for `auto` where a GPU has it natively, else float32."""
        if precision != "auto":
            return precision
        return "bfloat16" if device.type == "cuda" and has_bfloat16(device) else "float32"

    @property
    def version(self) -> str:
        """Torch's version."""
        return torch.__version__

    @property
    def model(self) -> Segmenter:
        """The model that computes."""
        return self._model

    def digest(self) -> str:
        """Return the SHA-256 of weights and spec."""
        return digest_model(self.model).content

    @torch.inference_mode()
    def patch_logits(self, pixels: Pixels) -> PatchLogits:
        """Score every patch of images with pixels of 0 to 255."""
        if self.gives_masks:
            return self.mask_scores(pixels).log_scores()
        with self._computing():
            images = self.model.normalize(pixels.to(self.device))
            threshold = self.merge_threshold
            if threshold is None:
                return self._scores(images).float()
            # Each image is left with another number of tokens, so each goes through alone.
            scores = [merged_patch_logits(self.model, one, threshold) for one in images.split(1)]
            return torch.cat(scores).float()

    @torch.inference_mode()
    def mask_scores(self, pixels: Pixels) -> MaskScores:
        """Return what the scores of images are summed from; see `gives_masks`."""
        with self._computing():
            images = self.model.normalize(pixels.to(self.device))
            threshold = self.merge_threshold
            if threshold is None:
                found = [self._masks(images)]
            else:
                found = [merged_mask_scores(self.model, one, threshold) for one in images.split(1)]
        masks, shares = (torch.cat(each).float() for each in list(zip(*found, strict=True))[:2])
        return MaskScores(masks, shares, found[0].size)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Compute in the runtime's precision, by the model in eval mode."""
        self.model.eval()
        use_autocast = self.precision == "bfloat16"
        with (
            full_float32(self.device),
            torch.autocast(self.device.type, torch.bfloat16, enabled=use_autocast),
        ):
            yield

    def _scores(self, images: Tensor) -> PatchLogits:
        return self.model.patch_logits(images)

    def _masks(self, images: Tensor) -> MaskScores:
        return self.model.mask_scores(images)


def _check_dtypes(model: Segmenter) -> None:
    """Refuse weights of half precision: images are float32, and autocast lowers the precision."""
    halves = {p.dtype for p in model.parameters()} & {torch.float16, torch.bfloat16}
    if halves:
        raise UserError(
            f"the weights of the model are {_name(min(halves, key=str))}; give model.float(), and "
            "--precision bfloat16 for speed"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class CompiledTorchRuntime(TorchRuntime):
    """The same through `torch.compile`, which compiles for each new shape."""

    name = "torch-compile"

    @cached_property
    def _compiled(self) -> Callable[[Tensor], Tensor]:
        return torch.compile(self.model.patch_logits)

    @cached_property
    def _compiled_masks(self) -> Callable[[Tensor], MaskScores]:
        return torch.compile(self.model.mask_scores)

    def _scores(self, images: Tensor) -> PatchLogits:
        return self._compiled(images)

    def _masks(self, images: Tensor) -> MaskScores:
        return self._compiled_masks(images)
