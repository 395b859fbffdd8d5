"""Label maps that were saved, by `predict` or by another tool, found and read as predictions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from segmenter.checkpoints.bundled import bundled_models
from segmenter.checkpoints.open import holds_weights
from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_mask
from segmenter.data.decoding.image_formats import MASK_SUFFIXES
from segmenter.data.folder import Item, read_labels
from segmenter.data.masks.values import drop_equal_channels, map_known_values
from segmenter.data.pairing.file_names import FileNames, composed
from segmenter.data.pairing.layouts import MASK_ENDINGS
from segmenter.data.pairing.name_rules import find_rules
from segmenter.data.prefetch import prefetch
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import Evaluation, ImageScore, count_agreement
from segmenter.evaluation.extra_metrics import Statistics
from segmenter.label_files.image_outputs import IMAGE_COPY, IMAGE_FORMATS, PLAIN_OVERLAY
from segmenter.model import EvaluationProtocol
from segmenter.options import Compute, ExtraMetrics, Ids, Labelling, Views

_ENDINGS = ("_label", "", "_pred", "_prediction", *MASK_ENDINGS[1:])
"""Endings of a label map's name after the name of its image, `predict`'s own first."""


class SavedMaps:
    """Label maps in a folder, one for each image.

    Args:
        folder: Where they are, to any depth.
        items: The images; names are compared without folders that all images share.
        classes: Classes of the data.
        ids: What the values are: class indices, or the mask values of the classes.

    Raises:
        UserError: If an image has no map, or several.
    """

    def __init__(self, folder: Path, items: Sequence[Item], classes: Classes, ids: Ids) -> None:
        self._classes = classes
        self.ids: Ids = ids
        """The meaning of the values."""
        self._paths = _find_maps(folder, items)

    def read(
        self, item: Item, labels_true: Shaped[ndarray, "height width"]
    ) -> Shaped[ndarray, "height width"]:
        """Return the saved labels of an image, as class indices.

        Where the truth is ignored, the map may hold any value.

        Raises:
            UserError: If it cannot be read, differs in size, or holds a value that is not a class.
        """
        path = self._paths[item]
        raw = decode_mask(path, apply_palette=self.ids == "source" and self._classes.is_rgb)
        labels = self._indices(raw, path)
        if labels.shape != labels_true.shape:
            sizes = [f"{height} x {width}" for height, width in (labels.shape, labels_true.shape)]
            raise UserError(
                f"{path} has {sizes[0]} pixels (height x width), but {item.mask} has {sizes[1]}; "
                "save label maps at the size of their images"
            )
        is_class = (labels >= 0) & (labels < len(self._classes))
        wrong = (labels_true != self._classes.ignore_index) & ~is_class
        if wrong.any():
            raise UserError(self._no_class(path, drop_equal_channels(raw)[wrong]))
        return np.where(is_class, labels, 0).astype(self._classes.label_dtype)

    def _indices(
        self, raw: Shaped[ndarray, "height width *channels"], path: Path
    ) -> Shaped[ndarray, "height width"]:
        """Class indices of the values; something else where there is none."""
        if self.ids == "source":
            return map_known_values(raw, self._classes, str(path))
        labels = drop_equal_channels(raw)
        if labels.ndim == 3:
            raise UserError(
                f"{path} is a picture in colours, and label maps hold class indices; give "
                "--ids source if classes.yaml lists these colours"
            )
        return labels.astype(np.int64)

    def _no_class(self, path: Path, values: Shaped[ndarray, " pixels *channels"]) -> str:
        distinct, counts = np.unique(values, axis=0, return_counts=True)
        most = int(counts.argmax())
        shown = distinct[most].tolist()
        if self.ids == "source":
            what = "belongs to no class of classes.yaml"
            hint = "omit --ids source if the maps hold class indices"
        else:
            what = f"is not a class index, 0 to {len(self._classes) - 1}"
            hint = "give --ids source if the maps hold the mask values of classes.yaml"
        return (
            f"{path} holds {shown} at {int(counts[most])} pixels that are labelled in the truth, "
            f"which {what}; {hint}"
        )


def evaluate_maps(
    maps: SavedMaps,
    items: Sequence[Item],
    classes: Classes,
    *,
    protocol: EvaluationProtocol | None = None,
    on_image: Callable[[ImageScore], None] | None = None,
    statistics: Statistics | None = None,
) -> Evaluation:
    """Score saved label maps as `evaluate` scores a model; images are not read.

    Args:
        maps: Label maps of these items.
        items: Images with masks.
        classes: Classes of the data.
        protocol: Says how classes count that are nowhere. If None, they are left out of means.
        on_image: Called after each image, to show progress.
        statistics: Counts more of each image, as far as it needs no probabilities.

    Raises:
        UserError: If a mask or a map cannot be read, or they do not fit.
    """

    def labelled() -> Iterator[tuple[Item, ndarray, ndarray]]:
        for item, labels_true, labels in prefetch(read, items, 1):
            if statistics is not None:
                statistics.add(labels_true, labels)
            yield item, labels_true, labels

    def read(item: Item) -> tuple[Item, ndarray, ndarray]:
        labels_true = read_labels(item, classes)
        return item, labels_true, maps.read(item, labels_true)

    return count_agreement(
        labelled(),
        classes,
        protocol or EvaluationProtocol(),
        on_image=on_image,
        statistics=statistics,
    )


def is_folder_of_maps(model: str) -> bool:
    """Return whether what is given as a model is a folder, without weights, and no bundled name."""
    folder = Path(model)
    return folder.is_dir() and model not in bundled_models() and not holds_weights(folder)


def check_without_model(
    folder: str, views: Views, labelling: Labelling, metrics: ExtraMetrics, compute: Compute
) -> None:
    """Refuse options that say how a model predicts: saved maps are scored as they are.

    A protocol is welcome, as it also says how scores are computed.

    Raises:
        UserError: If one is given.
    """
    for given in (views, labelling, compute):
        for field in fields(given):
            if field.name != "protocol" and getattr(given, field.name) != field.default:
                raise _is_for_models(field.name, folder)
    if metrics.temperature_split is not None:
        raise _is_for_models("temperature_split", folder)


def _is_for_models(field: str, folder: str) -> UserError:
    return UserError(
        f"--{field.replace('_', '-')} is for models, and {folder} is a folder of label maps, which "
        "are scored as they are; omit it"
    )


def _find_maps(folder: Path, items: Sequence[Item]) -> dict[Item, Path]:
    """Find the map of each item, by the ending and the number of left-out folders that fit best."""
    files = _without_pictures(FileNames(folder, MASK_SUFFIXES).by_name)
    if not files:
        raise UserError(f"{folder} holds no label map: no image file is in it")
    best: dict[Item, str] = {}
    for named in _ways_to_name(items, set(files)):
        found = {item: name for item, name in named.items() if name in files}
        if len(found) > len(best):
            best = found
        if len(best) == len(items):
            break
    missing = [item for item in items if item not in best]
    if missing:
        name = composed(missing[0].name)
        raise UserError(
            f"{len(missing)} of {len(items)} images have no label map in {folder}; the first: "
            f"{missing[0].name}, expected {folder / name}_label.png"
        )
    return {item: _only(files[name]) for item, name in best.items()}


def _without_pictures(files: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Leave out the pictures that `predict` writes beside label maps."""
    endings = tuple(each.ending for each in (IMAGE_FORMATS["overlay"], IMAGE_COPY, PLAIN_OVERLAY))
    kept = {
        name: [path for path in paths if not path.name.endswith(endings)]
        for name, paths in files.items()
    }
    return {name: paths for name, paths in kept.items() if paths}


def _ways_to_name(items: Sequence[Item], names: set[str]) -> Iterator[dict[Item, str]]:
    """Yield how maps may be named; no way names two alike."""
    depth = max((item.name.count("/") for item in items), default=0)
    for left_out in range(depth + 1):
        tails = {item: "/".join(composed(item.name).split("/")[left_out:]) for item in items}
        if len({*tails.values()} - {""}) < len(items):
            return
        for ending in _ENDINGS:
            yield {item: tail + ending for item, tail in tails.items()}
        rules = find_rules(tails.values(), names)
        if len(rules) == 1:
            pairs = rules[0].pairs
            yield {item: pairs.get(tail, "") for item, tail in tails.items()}


def _only(paths: Sequence[Path]) -> Path:
    pngs = [path for path in paths if path.suffix.lower() == ".png"]
    if len(pngs) == 1:
        return pngs[0]
    if len(paths) > 1:
        raise UserError(f"{paths[0]} and {paths[1]} are label maps of one image; keep one")
    return paths[0]
