"""One model on one process or several: copied to each of them (DDP), or sharded (`fully_shard`)."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from segmenter.model.decoders.decoder import QueryPrediction
from segmenter.model.segmenter import Segmenter
from segmenter.model.transformer import Attention
from segmenter.options import Execution
from segmenter.runtimes.devices import full_float32
from segmenter.training.processes import SINGLE_PROCESS, Processes

_LONGEST_EXPLICIT = 1100
"""Tokens of a crop whose attention weights are kept for the backward pass."""


@dataclass
class Outputs:
    """Outputs of a model on crops, as losses take them."""

    tokens: Float[Tensor, "batch tokens features"]
    """Input of the decoder: features of the patches, row by row, then of class tokens."""
    upsample: Callable[[], Float[Tensor, "batch classes height width"]]
    """Computes `logits`."""
    queries: Sequence[QueryPrediction] = ()
    """Predictions of a decoder that learns by queries; the last is final."""
    image_share: tuple[float, float] = (1.0, 1.0)
    """Share of the height and the width of their masks that the crops fill; the rest is padding."""

    @functools.cached_property
    def logits(self) -> Float[Tensor, "batch classes height width"]:
        """Logits of every class at every pixel, float32; computed where a loss asks for them."""
        return self.upsample()


class ForwardPass(nn.Module):
    """The model's forward pass in training, as the one module that DDP and `fully_shard` wrap."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None,
    ) -> tuple[Float[Tensor, "batch tokens features"], list[Tensor]]:
        """Encode and decode normalised images.

        Returns:
            Tokens; and logits of patches, or class logits and masks of each prediction in turn.
        """
        model, padded = self.model, self.model.pad(images)
        if model.training and model.decoder.num_queries:
            tokens, predictions = model.predictions(padded, drop_path_scales)
            outputs = [part for prediction in predictions for part in prediction]
        else:
            tokens, grid = model.encode(padded, drop_path_scales)
            outputs = [model.decode(tokens, grid, drop_path_scales)]
        # A view would lose the hooks by which sharded weights are gathered.
        return tokens, [part.clone(memory_format=torch.contiguous_format) for part in outputs]


class DistributedModel:
    """A model in training: its weights, and the forward pass that all processes compute together.

    Args:
        model: The model, with the same weights on every process; frozen weights are frozen already.
            Its weights become sharded where `execution` says so.
        processes: The processes of the run.
        execution: How it is computed.
    """

    def __init__(
        self,
        model: Segmenter,
        processes: Processes = SINGLE_PROCESS,
        execution: Execution = Execution(),  # noqa: B008 - it is frozen
    ) -> None:
        self.module, self.processes = model, processes
        forward: nn.Module = ForwardPass(model)
        if execution.fsdp:
            apply_fsdp(forward, processes)
        if execution.compile:
            forward.compile()
        is_copied = processes.count > 1 and not execution.fsdp
        self._forward = wrap_ddp(forward) if is_copied else forward

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""
        return self.module.mean.device

    @property
    def is_sharded(self) -> bool:
        """Return True if processes exchange weights in each pass: none can repeat one alone."""
        return isinstance(self._forward, FSDPModule)

    def __call__(
        self,
        images: UInt8[Tensor, "batch channels height width"]
        | Float[Tensor, "batch channels height width"],
        dtype: torch.dtype,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Outputs:
        """Return the outputs on crops of 0 to 255; upsampling is always float32.

        Args:
            images: RGB, not yet normalised, on the model's device.
            dtype: Type of matrix products: float32, bfloat16 or float16.
            drop_path_scales: Factor of each residual branch, for each image.
        """
        with (
            full_float32(images.device),
            torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32),
        ):
            tokens, found = self._forward(self.module.normalize(images), drop_path_scales)
        size = (images.shape[2], images.shape[3])
        if len(found) == 1:
            return Outputs(tokens, lambda: self.module.upsample(found[0].float(), size))
        queries = [QueryPrediction(*pair) for pair in zip(found[::2], found[1::2], strict=True)]
        final = QueryPrediction(*(part.float() for part in queries[-1]))
        return Outputs(
            tokens,
            lambda: self.module.upsample(self.module.decode_prediction(final), size),
            queries,
            self.module.image_share(final, size),
        )

    @contextlib.contextmanager
    def gradient_exchange(self, *, is_on: bool) -> Iterator[None]:
        """Exchange gradients over the processes in the backward passes inside, or leave it out."""
        forward = self._forward
        if isinstance(forward, FSDPModule):
            forward.set_requires_gradient_sync(is_on)
        if isinstance(forward, DistributedDataParallel) and not is_on:
            with forward.no_sync():
                yield
        else:
            yield


def choose_attention(model: Segmenter, precision: str) -> None:
    """Choose the attention kernel for training.

    In bfloat16 on a CPU, plain products take half the time of fused attention. They keep all
    weights for the backward pass, so only for the short sequences of a crop.
    """
    is_on_cpu = model.mean.device.type == "cpu"
    longest = _LONGEST_EXPLICIT if is_on_cpu and precision == "bfloat16" else 0
    for part in model.modules():
        if isinstance(part, Attention):
            part.explicit_up_to = longest


def apply_fsdp(forward: ForwardPass, processes: Processes) -> None:
    """Shard each weight over the processes; the weights of a block are gathered as it is needed."""
    model = forward.model
    mesh = init_device_mesh(model.mean.device.type, (processes.count,))
    for block in (*model.encoder.blocks, *getattr(model.decoder, "blocks", ())):
        fully_shard(block, mesh=mesh)
    fully_shard(forward, mesh=mesh)


def wrap_ddp(forward: nn.Module) -> DistributedDataParallel:
    """Copy the weights of rank 0 to the others; gradients will be averaged over the processes."""
    # Buffers change alike on all processes. Broadcast in a forward pass, they would keep the others
    # waiting for one that has left the pass for want of memory.
    wrapped = DistributedDataParallel(forward, gradient_as_bucket_view=True)
    # Gradients of steps tried without exchange lie differently: a copy each, and no harm.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    wrapped.broadcast_buffers = False  # as an argument it is deprecated, its successor is of 2.13
    return wrapped


def to_full_tensor(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def to_full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather each tensor; every process must call this."""
    return {name: to_full_tensor(tensor.detach()) for name, tensor in tensors.items()}


@torch.no_grad()
def place_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Move a full tensor, the same on every process, to the device and shards of another."""
    placed = tensor.to(other.device)
    if isinstance(other, DTensor):
        mesh, placements = other.device_mesh, other.placements
        return distribute_tensor(placed, mesh, placements, src_data_rank=None)  # nothing is sent
    return placed
