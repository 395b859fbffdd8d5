"""SHA-256 of a model: of its numbers, and of all that says what the numbers mean."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segmenter.model.segmenter import Segmenter


class Digests(NamedTuple):
    """Digests by which models differ."""

    weights: str
    """Over names and bytes: what files of 0.1.0 hold, blind to dtypes, shapes and spec."""
    content: str
    """Over names, dtypes, shapes, bytes and spec: equal only where the models are."""
    num_weights: int
    """Count of the numbers in the tensors."""


def digest(tensors: Iterable[tuple[str, Tensor]], spec: Mapping[str, Any]) -> Digests:
    """Digest a model's tensors, one after the other, and its spec.

    Args:
        tensors: Pairs of name and tensor, in the order of the names; of any dtype, on any device.
        spec: As JSON has it.
    """
    numbers = hashlib.sha256()
    layout = []
    num_weights = 0
    for name, tensor in tensors:
        numbers.update(name.encode())
        numbers.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        layout.append([name, str(tensor.dtype), list(tensor.shape)])
        num_weights += tensor.numel()
    weights = numbers.hexdigest()
    # With the layout at its side, the digest of names and bytes can stand for one model only.
    whole = json.dumps([weights, layout, spec], sort_keys=True)
    return Digests(weights, hashlib.sha256(whole.encode()).hexdigest(), num_weights)


def digest_model(model: Segmenter) -> Digests:
    """Digest a model that is in memory."""
    return digest(sorted(model.state_dict().items()), model.spec.model_dump(mode="json"))
