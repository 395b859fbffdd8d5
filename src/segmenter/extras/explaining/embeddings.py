"""Project class and patch embeddings onto their singular and principal directions."""

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from segmenter.model import Segmenter


def class_embeddings(model: Segmenter) -> Float[Tensor, "classes dim"]:
    """Return the embedding of each class: its learned token, or its row of the linear layer."""
    return model.decoder.class_embeddings.detach()


def class_similarity(model: Segmenter) -> Float[Tensor, "classes classes"]:
    """Cosine similarity of the embeddings of classes, -1 to 1."""
    embeddings = torch.nn.functional.normalize(class_embeddings(model), dim=-1)
    return embeddings @ embeddings.T


def class_map(model: Segmenter) -> Float[Tensor, "classes 2"]:
    """Classes on a plane: the two strongest singular directions of their embeddings.

    Paper, appendix, figure "SVD of the class embeddings". Each axis is scaled to -1 to 1.
    """
    embeddings = class_embeddings(model).double()
    centred = embeddings - embeddings.mean(dim=0)
    left, strengths, _ = torch.linalg.svd(centred, full_matrices=False)
    plane = _signed(left[:, :2] * strengths[:2])
    if plane.shape[1] < 2:
        plane = torch.nn.functional.pad(plane, (0, 2 - plane.shape[1]))
    return (plane / plane.abs().amax(dim=0).clamp(min=1e-12)).float()


@torch.inference_mode()
def token_colors(
    model: Segmenter, images: Float[Tensor, "1 channels height width"]
) -> UInt8[ndarray, "rows columns 3"]:
    """Patch tokens of the encoder as colours: their three strongest principal components.

    Each component is spread from 0 (its 1st percentile) to 255 (its 99th).
    """
    tokens, grid = model.encoder(model.pad(images))
    centred = tokens[0].double() - tokens[0].double().mean(dim=0)
    left, strengths, _ = torch.linalg.svd(centred, full_matrices=False)
    components = _signed(left[:, :3] * strengths[:3])
    if components.shape[1] < 3:
        components = torch.nn.functional.pad(components, (0, 3 - components.shape[1]))
    ends = torch.tensor([0.01, 0.99], dtype=components.dtype, device=components.device)
    low, high = torch.quantile(components, ends, dim=0)
    spread = ((components - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    colors = (spread * 255).round().to(torch.uint8)
    return colors.unflatten(0, grid).cpu().numpy()


def _signed(components: Float[Tensor, "points axes"]) -> Float[Tensor, "points axes"]:
    """Turn each axis so that its largest value is positive: its sign means nothing."""
    largest = components.gather(0, components.abs().argmax(dim=0, keepdim=True))
    return torch.where(largest < 0, -components, components)
