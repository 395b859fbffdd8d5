"""`explain`: one page and PNGs of what a model looks at in an image."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from segmenter.drawing import label_png, overlay
from segmenter.errors import UserError
from segmenter.extras.explaining.embeddings import class_map, class_similarity, token_colors
from segmenter.extras.explaining.maps import seen_as_a_whole
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.model.attention_maps import AttentionMaps, attention_maps
from segmenter.pages import PAGE_NAME, render_page

_SIDE = 320  # of the small pictures, in pixels
_MARK = (255, 255, 255)


class Origin(NamedTuple):
    """From where attention is looked at: a patch, or the token of a class."""

    patch: tuple[int, int] | None
    """Row and column, from 0; None: the patch in the middle."""
    class_name: str | None = None
    """Of the class whose token is followed in the decoder; its patch is the surest one."""


class _Layer(NamedTuple):
    """One block's picture files."""

    name: str
    heads: list[str]


def write_explanation(
    predictor: Predictor,
    image: UInt8[ndarray, "height width 3"],
    name: str,
    origin: Origin,
    folder: OutputFolder,
) -> None:
    """Write `index.html` and its PNGs.

    Args:
        predictor: The model.
        image: The image.
        name: What the page calls it.
        origin: From where to look.
        folder: Where to write.

    Raises:
        UserError: If there is no such patch or class, or a file cannot be written.
    """
    pixels = seen_as_a_whole(predictor, image)
    height, width = (side * _SIDE // max(pixels.shape[2:]) or 1 for side in pixels.shape[2:])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    labels = predictor(image)
    classes = predictor.classes
    drawn = overlay(image, labels, classes.colors, background_index=classes.background_index)
    patch, class_index = _place(predictor, pixels, origin)

    folder.write("photo.png", label_png(small))
    folder.write(
        "labels.png",
        label_png(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)),
    )
    tokens = _uncovered(token_colors(predictor.model, pixels), predictor, pixels, (height, width))
    folder.write("tokens.png", label_png(tokens))
    layers = []
    for part, number, maps in _all_maps(predictor, pixels):
        index = class_index if maps.num_classes else None
        weights = maps.of_patch(*patch) if index is None else maps.of_class(index)
        if not weights.any():
            continue  # in the decoder `atm` patches take nothing
        heads = []
        for head, weight in enumerate(weights[0].cpu().numpy()):
            picture = _over(small, weight, predictor, pixels)
            if index is None:
                _mark(picture, patch, predictor, pixels)
            heads.append(f"{part}-{number + 1}-head-{head + 1}.png")
            folder.write(heads[-1], label_png(picture))
        layers.append(_Layer(f"{part} {number + 1}", heads))
    page = render_page(
        "segmenter.extras.explaining",
        "explain.html.jinja",
        name=name,
        origin=f"patch {patch[0]},{patch[1]}",
        class_name=origin.class_name,
        layers=layers,
        **_class_values(predictor),
    )
    folder.write(PAGE_NAME, page)


def _class_values(predictor: Predictor) -> dict[str, Any]:
    """Return what the page shows of how the model tells classes apart."""
    classes, decoder = predictor.classes.classes, predictor.model.decoder
    names = [info.name for info in classes]
    points = zip(classes, class_map(predictor.model).tolist(), strict=True)
    similarity = class_similarity(predictor.model).cpu().tolist()
    return {
        "has_class_tokens": decoder.num_query_blocks + decoder.num_attention_blocks > 0,
        "names": names,
        "points": [(info.name, info.color, point) for info, point in points],
        "similarity": list(zip(names, similarity, strict=True)),
    }


def _place(
    predictor: Predictor, pixels: Float[torch.Tensor, "1 3 height width"], origin: Origin
) -> tuple[tuple[int, int], int | None]:
    """The patch to look from, and the index of the class if one is named."""
    model = predictor.model
    with torch.inference_mode():
        logits = model.patch_logits(pixels)
        logits = torch.nn.functional.avg_pool2d(logits, model.spec.decoder.logits_per_patch_side)[0]
    rows, columns = logits.shape[1:]
    if origin.class_name is not None:
        names = [info.name for info in predictor.classes.classes]
        if origin.class_name not in names:
            raise UserError(f"no class {origin.class_name!r}; there are {', '.join(names)}")
        label = predictor.classes.names.index(origin.class_name)
        surest = int((logits[label] - logits.logsumexp(dim=0)).argmax())
        return divmod(surest, columns), names.index(origin.class_name)
    row, column = origin.patch or (rows // 2, columns // 2)
    if not (0 <= row < rows and 0 <= column < columns):
        raise UserError(
            f"no patch {row},{column}: the image has {rows} rows and {columns} columns of patches, "
            "counted from 0"
        )
    return (row, column), None


def _all_maps(
    predictor: Predictor, pixels: Float[torch.Tensor, "1 3 height width"]
) -> Iterator[tuple[str, int, AttentionMaps]]:
    """The attention of every block, one after the other."""
    model = predictor.model
    for number in range(len(model.encoder.blocks)):
        yield "encoder", number, attention_maps(model, pixels, number, "encoder")
    for number in range(model.decoder.num_attention_blocks):
        yield "decoder", number, attention_maps(model, pixels, number, "decoder")


def _over(
    image: UInt8[ndarray, "height width 3"],
    weights: Float[ndarray, "rows columns"],
    predictor: Predictor,
    pixels: Float[torch.Tensor, "1 3 seen_height seen_width"],
) -> UInt8[ndarray, "height width 3"]:
    """Attention over the image, bright where it is strong; the strongest patch is brightest."""
    shares = (weights / max(float(weights.max()), 1e-12) * 255).astype(np.uint8)
    heat = cv2.applyColorMap(shares, cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    heat = _uncovered(np.ascontiguousarray(heat), predictor, pixels, image.shape[:2])
    return cv2.addWeighted(image, 0.4, heat, 0.6, 0)


def _uncovered(
    grid: UInt8[ndarray, "rows columns 3"],
    predictor: Predictor,
    pixels: Float[torch.Tensor, "1 3 seen_height seen_width"],
    size: tuple[int, ...],
) -> UInt8[ndarray, "height width 3"]:
    """A colour for each patch, at the size of a picture; what was padded is cut away."""
    patch = predictor.spec.encoder.patch_size
    whole = grid.repeat(patch, axis=0).repeat(patch, axis=1)
    height, width = pixels.shape[2:]
    return cv2.resize(whole[:height, :width], size[::-1], interpolation=cv2.INTER_NEAREST)


def _mark(
    picture: UInt8[ndarray, "height width 3"],
    patch: tuple[int, int],
    predictor: Predictor,
    pixels: Float[torch.Tensor, "1 3 seen_height seen_width"],
) -> None:
    """Draw a frame around the patch that is looked from."""
    side = predictor.spec.encoder.patch_size
    (height, width), (seen_height, seen_width) = picture.shape[:2], pixels.shape[2:]
    top, left = patch[0] * side * height // seen_height, patch[1] * side * width // seen_width
    bottom = (patch[0] + 1) * side * height // seen_height
    right = (patch[1] + 1) * side * width // seen_width
    cv2.rectangle(picture, (left - 1, top - 1), (right, bottom), (0, 0, 0), 2)
    cv2.rectangle(picture, (left - 1, top - 1), (right, bottom), _MARK, 1)
