"""`explain`: one page and its pictures of what a model looks at in an image."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt, UInt8
from numpy import ndarray

from segmenter.classes import Classes, ClassInfo, Color
from segmenter.drawing import class_shares, label_png, overlay, shown_classes
from segmenter.errors import UserError
from segmenter.extras.explaining.embeddings import class_map, class_similarity, token_colors
from segmenter.extras.explaining.maps import seen_as_a_whole
from segmenter.files.outputs import OutputFolder
from segmenter.image_spec import shown_pixels
from segmenter.inference.predictor import Predictor
from segmenter.model.attention_maps import AttentionMaps, all_attention_maps
from segmenter.pages import PAGE_NAME, label_map_uri, render_page, shown_names

_SIDE = 640  # of the pictures, in pixels
_HEAD_SIDE = 320  # of those of single heads
_TOP_QUANTILE = 0.99
"""Patches above this share of all are brightest, so that one outlier does not darken the others."""
_MARK = (255, 255, 255)
_NUM_NEAREST = 3


class Origin(NamedTuple):
    """The token whose attention is shown: a patch, or a class."""

    patch: tuple[int, int] | None
    """Row and column, from 0; None: the patch in the middle."""
    class_name: str | None = None
    """Name of the class whose token is followed in the decoder; its patch is the surest one."""


class _Layer(NamedTuple):
    """The picture files of one block."""

    name: str
    mean: str
    """The mean over the heads."""
    heads: list[str]


def write_explanation(
    predictor: Predictor,
    image: Shaped[ndarray, "height width channels"],
    name: str,
    origin: Origin,
    folder: OutputFolder,
    *,
    model: str = "",
    on_block: Callable[[], object] = lambda: None,
) -> str | None:
    """Write `index.html` and its pictures.

    Args:
        predictor: The model.
        image: The image, with the channels that the model takes.
        name: What the page calls it.
        origin: From where to look.
        folder: Where to write.
        model: What the page calls the model.
        on_block: Called after each block, to show progress.

    Returns:
        A remark for the user; None if there is none.

    Raises:
        UserError: If the patch or class does not exist, or a file cannot be written.
    """
    pixels = seen_as_a_whole(predictor, image)
    labels = predictor(image)
    classes = predictor.classes
    image = shown_pixels(image, predictor.spec.image)
    drawn = overlay(image, labels, classes.colors, background_index=classes.background_index)
    patch, class_index = _place(predictor, pixels, origin)
    small = _resized(image, pixels.shape[2:], _SIDE)
    folder.write("photo.png", label_png(small))
    folder.write("labels.png", label_png(_resized(drawn, pixels.shape[2:], _SIDE)))
    tokens = _uncovered(token_colors(predictor.model, pixels), predictor, pixels, small.shape[:2])
    folder.write("tokens.png", label_png(tokens))
    view = _View(predictor, pixels, patch, small, _resized(image, pixels.shape[2:], _HEAD_SIDE))
    layers = _write_layers(view, class_index, folder, on_block)
    remark = _remark(origin.class_name, labels, classes)
    page = render_page(
        "segmenter.extras.explaining",
        "explain.html.jinja",
        name=name,
        model=model,
        remark=remark,
        origin=f"the patch in row {patch[0]}, column {patch[1]}",
        class_name=origin.class_name,
        license=predictor.spec.license,
        layers=layers,
        size=small.shape[:2],
        label_map=label_map_uri(labels),
        class_names=shown_names(classes.names),
        legend=_legend(labels, classes),
        **_class_values(predictor),
    )
    folder.write(PAGE_NAME, page)
    return remark


class _View(NamedTuple):
    """The picture under the attention."""

    predictor: Predictor
    pixels: Float[torch.Tensor, "1 channels seen_height seen_width"]
    patch: tuple[int, int]
    image: UInt8[ndarray, "height width 3"]
    small_image: UInt8[ndarray, "small_height small_width 3"]
    """The image at the size in which single heads are drawn."""


def _write_layers(
    view: _View, class_index: int | None, folder: OutputFolder, on_block: Callable[[], object]
) -> list[_Layer]:
    """Write the pictures of all blocks, and return what the page shows of each."""
    layers = []
    for part, number, maps in all_attention_maps(view.predictor.model, view.pixels):
        layer = _write_layer(view, f"{part}-{number + 1}", maps, class_index, folder)
        if layer is not None:
            layers.append(layer._replace(name=f"{part} block {number + 1}".capitalize()))
        on_block()
    return layers


def _write_layer(
    view: _View, name: str, maps: AttentionMaps, class_index: int | None, folder: OutputFolder
) -> _Layer | None:
    """Write the pictures of one block; None where the origin attends to nothing."""
    index = class_index if maps.num_classes else None
    weights = maps.of_patch(*view.patch) if index is None else maps.of_class(index)
    if not weights.any():
        return None  # in the decoder `atm` patches take nothing
    weights = weights[0].cpu().numpy()
    named = {f"{name}-mean.png": (view.image, weights.mean(axis=0))}
    named |= {
        f"{name}-head-{head + 1}.png": (view.small_image, weight)
        for head, weight in enumerate(weights)
    }
    for file, (image, weight) in named.items():
        picture = attention_picture(image, weight, view.predictor, view.pixels)
        if index is None:
            _mark(picture, view.patch, view.predictor, view.pixels)
        folder.write(file, label_png(picture))
    mean, *heads = named
    return _Layer(name, mean, heads)


def _resized(
    picture: UInt8[ndarray, "height width 3"], seen: Sequence[int], side: int
) -> UInt8[ndarray, "drawn_height drawn_width 3"]:
    """Resize a picture to the shape that the model saw, with `side` as its long side."""
    height, width = (each * side // max(seen) or 1 for each in seen)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def _remark(
    class_name: str | None, labels: UInt[ndarray, "height width"], classes: Classes
) -> str | None:
    """Say so if no pixel has the class that is asked for."""
    if class_name is None or (labels == classes.names.index(class_name)).any():
        return None
    return (
        f"no pixel of this image is labelled {class_name}: the patch shown is the one where it is "
        "most probable"
    )


def _legend(
    labels: UInt[ndarray, "height width"], classes: Classes
) -> list[tuple[str, Color, float]]:
    """Return name, colour and share of the classes in the image, the largest first."""
    shares = class_shares(labels, len(classes))
    found = [(classes.by_index[index], shares[index]) for index in shown_classes(shares)]
    return [(info.name, info.color, float(share)) for info, share in found]


def _class_values(predictor: Predictor) -> dict[str, Any]:
    """Return what the page shows of how the model tells classes apart."""
    classes, decoder = predictor.classes.classes, predictor.model.decoder
    points = zip(classes, class_map(predictor.model).tolist(), strict=True)
    similarity = class_similarity(predictor.model).cpu().numpy()
    return {
        "has_class_tokens": decoder.queries_are_classes
        and decoder.num_query_blocks + decoder.num_attention_blocks > 0,
        "points": [(info.name, info.color, point) for info, point in points],
        "nearest": [
            (info.name, info.color, _nearest(row, index, classes))
            for index, (info, row) in enumerate(zip(classes, similarity, strict=True))
        ],
    }


def _nearest(
    cosines: Float[ndarray, " classes"], index: int, classes: Sequence[ClassInfo]
) -> list[tuple[str, float]]:
    """Return name and cosine of the classes that are most similar to one."""
    order = [other for other in np.argsort(-cosines, kind="stable").tolist() if other != index]
    return [(classes[other].name, float(cosines[other])) for other in order[:_NUM_NEAREST]]


def _place(
    predictor: Predictor, pixels: Float[torch.Tensor, "1 channels height width"], origin: Origin
) -> tuple[tuple[int, int], int | None]:
    """Return the patch to look from, and the index of the class if one is named."""
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


def attention_picture(
    image: UInt8[ndarray, "height width 3"],
    weights: Float[ndarray, "rows columns"],
    predictor: Predictor,
    pixels: Float[torch.Tensor, "1 channels seen_height seen_width"],
) -> UInt8[ndarray, "height width 3"]:
    """Attention over the image, bright where it is strong; one patch of a hundred is brightest."""
    top = max(float(np.quantile(weights, _TOP_QUANTILE, method="lower")), 1e-12)
    shares = (np.clip(weights / top, 0, 1) * 255).astype(np.uint8)
    heat = cv2.applyColorMap(shares, cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    heat = _uncovered(np.ascontiguousarray(heat), predictor, pixels, image.shape[:2])
    return cv2.addWeighted(image, 0.4, heat, 0.6, 0)


def _uncovered(
    grid: UInt8[ndarray, "rows columns 3"],
    predictor: Predictor,
    pixels: Float[torch.Tensor, "1 channels seen_height seen_width"],
    size: tuple[int, ...],
) -> UInt8[ndarray, "height width 3"]:
    """Return a colour for each patch, at the size of a picture; what was padded is cut away."""
    patch = predictor.spec.encoder.patch_size
    whole = grid.repeat(patch, axis=0).repeat(patch, axis=1)
    height, width = pixels.shape[2:]
    return cv2.resize(whole[:height, :width], size[::-1], interpolation=cv2.INTER_NEAREST)


def _mark(
    picture: UInt8[ndarray, "height width 3"],
    patch: tuple[int, int],
    predictor: Predictor,
    pixels: Float[torch.Tensor, "1 channels seen_height seen_width"],
) -> None:
    """Draw a frame around the patch that is looked from."""
    side = predictor.spec.encoder.patch_size
    (height, width), (seen_height, seen_width) = picture.shape[:2], pixels.shape[2:]
    top, left = patch[0] * side * height // seen_height, patch[1] * side * width // seen_width
    bottom = (patch[0] + 1) * side * height // seen_height
    right = (patch[1] + 1) * side * width // seen_width
    cv2.rectangle(picture, (left - 1, top - 1), (right, bottom), (0, 0, 0), 2)
    cv2.rectangle(picture, (left - 1, top - 1), (right, bottom), _MARK, 1)
