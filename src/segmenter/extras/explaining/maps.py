"""Compute the attention and confidence maps of an image."""

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from segmenter.drawing import recolored
from segmenter.errors import UserError
from segmenter.inference.predictor import Predictor
from segmenter.inference.resizing import resize_image, resized_size
from segmenter.model import Segmenter
from segmenter.model.attention_maps import attention_maps
from segmenter.text import visible

_MAX_PATCHES = 2048  # the weights of all heads between 2048 patches take 100 MB


def describe(predictor: Predictor, name: str) -> dict[str, Any]:
    """Return what the page shows of the model: licence, classes, colours and layers.

    An exported file gives no attention, so it has no layers.
    """
    classes = predictor.classes
    return {
        "name": name,
        "license": visible(predictor.spec.license),
        "version": version("vit-segmenter"),
        "provenance": visible(predictor.spec.provenance),
        "classes": list(classes.names),
        "colors": classes.colors.tolist(),
        "distinct_colors": recolored(classes, "distinct").colors.tolist(),
        "layers": _layers(predictor.model) if predictor.runtime.has_model else [],
    }


def _layers(model: Segmenter) -> list[dict[str, str]]:
    """Return the blocks that give attention, in the order in which `attention` counts them."""
    depths = {"encoder": len(model.encoder.blocks), "decoder": model.decoder.num_attention_blocks}
    return [
        {"name": f"{part} {index + 1}", "part": part}
        for part, depth in depths.items()
        for index in range(depth)
    ]


def confidence(
    predictor: Predictor, image: Shaped[ndarray, "height width channels"]
) -> UInt8[ndarray, "height width"]:
    """Probability of the class that each pixel got, 0 to 255."""
    return (predictor.confidence(image) * 255).round().astype(np.uint8)


def attention(
    predictor: Predictor,
    image: Shaped[ndarray, "height width channels"],
    layer: int,
    place: tuple[float, float] | None,
    class_index: int | None,
) -> dict[str, Any]:
    """Return the attention of a patch, or of a class token, to each patch, head by head.

    The image is seen as a whole, resized as the model's protocol says, and smaller where it would
    have too many patches.

    Args:
        predictor: The model.
        image: The image.
        layer: Counted through the blocks of the encoder, then those of the decoder.
        place: Position of the patch: down and across, as shares of the image, 0 to 1.
        class_index: Index of the class, instead of a place; in the decoder alone.

    Returns:
        The weights of each head, row by row; the grid; the size of the area that it covers, as
        multiples of the image's; and the patch that was meant.

    Raises:
        UserError: If the layer, place or class does not exist, or the model is an exported file.
    """
    if not predictor.runtime.has_model:
        raise UserError("an exported file gives no attention; use the model that it came from")
    model = predictor.model
    depth = len(model.encoder.blocks)
    pixels = seen_as_a_whole(predictor, image)
    part, number = ("encoder", layer) if layer < depth else ("decoder", layer - depth)
    if layer < 0:
        raise UserError(f"no layer {layer}: layers are counted from 0")
    maps = attention_maps(model, pixels, number, part)
    rows, columns = maps.grid
    patch_size = model.spec.encoder.patch_size
    height, width = pixels.shape[2:]
    patch = None
    if class_index is not None:
        weights = maps.of_class(class_index)
    elif place is None or not all(0 <= each <= 1 for each in place):
        raise UserError("give row and column, each from 0 to 1, or a class")
    else:
        down, right = place
        patch = (
            min(int(down * height / patch_size), rows - 1),
            min(int(right * width / patch_size), columns - 1),
        )
        weights = maps.of_patch(*patch)
    return {
        "grid": [rows, columns],
        "covered": [rows * patch_size / height, columns * patch_size / width],
        "patch": patch,
        "heads": [[round(value, 6) for value in head] for head in weights[0].flatten(1).tolist()],
    }


def seen_as_a_whole(
    predictor: Predictor, image: Shaped[ndarray, "height width channels"]
) -> Float[torch.Tensor, "1 channels seen_height seen_width"]:
    """Return the image as the model takes it, normalised, at once instead of through windows."""
    model = predictor.model
    height, width = resized_size(image.shape[:2], predictor.protocol)
    patch_size = model.spec.encoder.patch_size
    factor = min(1.0, (_MAX_PATCHES * patch_size**2 / (height * width)) ** 0.5)
    most = _MAX_PATCHES * patch_size  # a row of pixels fills a row of patches
    size = (min(max(1, int(height * factor)), most), min(max(1, int(width * factor)), most))
    resized = resize_image(image, size, "uint8")
    pixels = torch.from_numpy(resized).to(predictor.device).permute(2, 0, 1)[None]
    return model.normalize(pixels)
