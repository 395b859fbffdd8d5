"""One model on several processes: copied to each of them (DDP), or shared out (`fully_shard`)."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from segmenter.model.segmenter import Segmenter
from segmenter.model.transformer import Attention
from segmenter.training.processes import Processes

_LONGEST_EXPLICIT = 1100
"""Tokens of a crop whose attention weights are kept for the backward pass."""


@dataclass(frozen=True)
class Execution:
    """How a run is computed; what it computes stays the same, but for rounding."""

    shard: bool = False
    """Keep a part of each weight in each process, in place of a copy of the model."""
    compile: bool = False
    """Compile the model with torch.compile."""
    deterministic: bool = False
    """Only algorithms whose result does not depend on the order that threads run in."""


class Answers(NamedTuple):
    """What the model makes of images in training."""

    logits: Float[Tensor, "batch classes rows columns"]
    """Of every class at every patch; or, once they are upsampled, at every pixel."""
    tokens: Float[Tensor, "batch tokens features"]
    """What the decoder took: features of the patches, row by row, and of class tokens."""


class ForwardPass(nn.Module):
    """The model's forward pass in training, as the one call that engines take hold of."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None,
    ) -> Answers:
        """Encode and decode normalised images."""
        tokens, grid = self.model.encode(self.model.pad(images), drop_path_scales)
        logits = self.model.decode(tokens, grid, drop_path_scales)
        # A view would lose the hooks by which shared-out weights are put together.
        return Answers(logits.clone(memory_format=torch.contiguous_format), tokens)


def choose_attention(model: Segmenter, precision: str) -> None:
    """Choose how attention is computed where the model learns.

    In bfloat16 on a CPU, plain products take half the time of fused attention. They keep all
    weights for the backward pass, so only for the short sequences of a crop.
    """
    is_on_cpu = next(model.parameters()).device.type == "cpu"
    longest = _LONGEST_EXPLICIT if is_on_cpu and precision == "bfloat16" else 0
    for part in model.modules():
        if isinstance(part, Attention):
            part.explicit_up_to = longest


def share_out(model: Segmenter, processes: Processes) -> ForwardPass:
    """Keep a part of each weight in each process; blocks are put together as they are needed."""
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (processes.count,))
    whole = ForwardPass(model)
    for block in (*model.encoder.blocks, *getattr(model.decoder, "blocks", ())):
        fully_shard(block, mesh=mesh)
    fully_shard(whole, mesh=mesh)
    return whole


def connect(network: ForwardPass, processes: Processes) -> nn.Module:
    """Copy the weights of the first process to the others; gradients will be averaged."""
    if processes.count == 1 or isinstance(network, FSDPModule):
        return network
    return DistributedDataParallel(network, gradient_as_bucket_view=True)


@contextlib.contextmanager
def exchange_gradients(network: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Around a backward pass: only that of a batch's last part exchanges gradients."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(is_last)
    if isinstance(network, DistributedDataParallel) and not is_last:
        with network.no_sync():
            yield
    else:
        yield


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be shared out; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The whole of each; every process must ask."""
    return {name: full(tensor.detach()) for name, tensor in tensors.items()}


@torch.no_grad()
def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor, the same in every process, on another's device and shared out as that is."""
    placed = tensor.to(model.device)
    if isinstance(model, DTensor):
        mesh, placements = model.device_mesh, model.placements
        return distribute_tensor(placed, mesh, placements, src_data_rank=None)  # nothing is sent
    return placed
