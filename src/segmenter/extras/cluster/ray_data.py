"""Many images on a cluster: classes for Ray Data's `map_batches`, one model an actor.

Ray makes an object of the class in each of its actors and calls it with batches, so the model is
loaded once an actor. Nothing here imports Ray.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from segmenter.data.decoding.decode import decode_image
from segmenter.data.pairing.find_images import find_images
from segmenter.drawing import class_shares
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.predicting.images import Result, predict_files

Batch = dict[str, ndarray]
"""Columns of rows, as `map_batches` hands them over by default."""


class LabelRows:
    """Turn rows with an image into rows with its labels.

    A row brings its image as `bytes` (an image file, decoded as `predict` does) or as `image`
    (pixels, as for `Predictor`), which it loses, since it would travel on with the row. It keeps
    its other columns, and gains:

    - `labels`: (height, width), the class of each pixel;
    - `shares`: (classes,), the share of each class in the pixels, 0 to 1;
    - `problem`: why the image could not be labelled, else empty; then `labels` is 0 x 0 and
      `shares` are 0, and the other rows are none the worse.

    Args:
        model: As for `Predictor`; a path must lead to the file on every machine.
        options: Other keywords of `Predictor`, such as `device`, `short_side` or `threshold`.

    Raises:
        UserError: If the model cannot be used.
    """

    def __init__(self, model: str = "street", **options: Any) -> None:
        self._predictor = Predictor(model, **options)

    def __call__(self, batch: Batch) -> Batch:
        """Label a batch.

        Raises:
            UserError: If the rows bring neither `bytes` nor `image`.
        """
        column = next((name for name in ("bytes", "image") if name in batch), None)
        if column is None:
            raise UserError(
                "a row needs its image in the column `bytes` or `image`; it has "
                f"{', '.join(batch) or 'none'}"
            )
        found = self._label([*batch[column]])
        classes = self._predictor.classes
        labels = np.empty(len(found), dtype=object)  # images differ in size
        none = np.zeros((0, 0), dtype=classes.label_dtype)
        for index, each in enumerate(found):
            labels[index] = none if isinstance(each, str) else each
        rows = {name: values for name, values in batch.items() if name != column}
        return rows | {
            "labels": labels,
            "shares": np.array([class_shares(each, len(classes)) for each in labels], np.float32),
            "problem": np.array([each if isinstance(each, str) else "" for each in found]),
        }

    def _label(self, given: Sequence[bytes | ndarray]) -> list[ndarray | str]:
        """Return the labels of each image, or what is wrong with it."""
        found: list[ndarray | str] = []
        images = []
        for each in given:
            try:
                if isinstance(each, bytes):
                    each = self._decode(each)
                images.append(each)
                found.append("")
            except (UserError, MemoryError) as error:
                found.append(_reason(error))
        try:
            labels = self._predictor(images)  # those of one size together
        except (UserError, MemoryError):
            labels = [self._one(image) for image in images]
        left = iter(labels)
        return [problem or next(left) for problem in found]

    def _decode(self, data: bytes) -> ndarray:
        predictor = self._predictor
        return decode_image(data, image_bits=predictor.image_bits, image=predictor.spec.image)

    def _one(self, image: ndarray) -> ndarray | str:
        try:
            return self._predictor(image)
        except (UserError, MemoryError) as error:
            return _reason(error)


class LabelFiles:
    """Turn rows that name an image on disk into the files that `segmenter predict` writes.

    A row has `path`, and the `name` of what is written (see `image_rows`). It gains `shares` and
    `problem`, as in `LabelRows`. The folder must be the same one for all machines. A batch that Ray
    tries again, after a machine was lost, writes the same files again.

    Args:
        out: Folder for the results; what is there and is not ours is never replaced.
        model: As for `Predictor`; a path must lead to the file on every machine.
        options: Other keywords of `Predictor`, such as `device`, `short_side` or `threshold`.

    Raises:
        UserError: If model or folder cannot be used.
    """

    def __init__(self, out: str, model: str = "street", **options: Any) -> None:
        self._out = Path(out)
        self._folder = OutputFolder(self._out)
        self._predictor = Predictor(model, **options)

    def __call__(self, batch: Batch) -> Batch:
        """Label a batch.

        Raises:
            UserError: If a file is in the way, or cannot be written.
        """
        images = [
            (Path(path), str(name)) for path, name in zip(batch["path"], batch["name"], strict=True)
        ]
        try:
            results = self._write(images)
        except UserError:
            # Perhaps an earlier try of this batch wrote them: the folder's manifest says so by now.
            self._folder = OutputFolder(self._out)
            results = self._write(images)
        return batch | {
            "shares": np.array([each.shares for each in results], np.float32),
            "problem": np.array([each.problem or "" for each in results]),
        }

    def _write(self, images: Sequence[tuple[Path, str]]) -> list[Result]:
        return [*predict_files(self._predictor, images, self._folder)]


def image_rows(inputs: Sequence[str]) -> list[dict[str, str]]:
    """Return rows for `ray.data.from_items`: the images that `segmenter predict` would find.

    Args:
        inputs: Images, folders (searched to any depth), and patterns such as `shots/**/*.jpg`.

    Returns:
        A `path` and a `name` each.

    Raises:
        UserError: If an input is missing or holds no image, or if two images have the same name.
    """
    return [{"path": str(path.absolute()), "name": name} for path, name in find_images(inputs)]


photo_rows = image_rows  # its name in 0.1.0


def _reason(error: Exception) -> str:
    return str(error) or "does not fit into memory"
