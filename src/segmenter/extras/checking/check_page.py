"""The page of a data check: what to fix first, findings with pictures, classes and sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Int32, UInt8
from numpy import ndarray

from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_image, decode_mask
from segmenter.data.decoding.set_bands import range_lines
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.problems import Problem, Severity
from segmenter.data.masks.values import MaskError, map_known_values
from segmenter.data.pairing.items import Item
from segmenter.drawing import smaller_size
from segmenter.errors import UserError
from segmenter.extras.checking.data_check import Check
from segmenter.extras.checking.doubt_pictures import DoubtCards
from segmenter.extras.checking.findings import Finding
from segmenter.extras.checking.split_facts import SplitFacts
from segmenter.files.outputs import OutputFolder
from segmenter.image_spec import shown_pixels
from segmenter.pages import PAGE_NAME, data_uri, render_page
from segmenter.text import visible

_NUM_PICTURED = 4
"""Problems of one kind that are shown with pictures."""
_NUM_LISTED = 100
"""... and those that are named below them."""
_NUM_PICTURES = 4
"""Pictures that one problem shows, at most."""
_NUM_VALUES = 10
_NUM_SIZES = 8
_NUM_SAMPLES = 4
"""Images that are shown under their masks, whatever was found."""
_MAX_SIDE = 640
_OPACITY = 0.6
_UNKNOWN_COLOR = (255, 0, 200)
_IGNORED_COLOR = (46, 50, 58)


class _Picture(NamedTuple):
    """A file as it is shown."""

    name: str
    source: str | None
    """Data URI; None if the file cannot be drawn."""
    size: tuple[int, int] = (1, 1)
    """Height and width of the picture, in pixels."""
    over: str | None = None
    """Data URI of the same image with its mask over it, if they fit."""


class _Card(NamedTuple):
    """A problem as it is shown."""

    message: str
    pictures: list[_Picture]


class _Share(NamedTuple):
    """The part of a split that a class has."""

    share: float | None
    """Share of the labelled pixels of the split, 0 to 1; None if it has none."""
    masks: int
    num_usable: int


class _Row(NamedTuple):
    """A class in the table of shares."""

    name: str
    color: tuple[int, int, int]
    shares: list[_Share]
    """Shares in the order of the splits."""


class _Size(NamedTuple):
    """An image size, and how many images have it."""

    width: int
    height: int
    count: int


def write_page(
    check: Check, data: LabelledFolder, folder: OutputFolder, doubts: DoubtCards | None = None
) -> Path:
    """Write one page that holds everything, pictures too, so that it can be mailed.

    Args:
        check: What was found.
        data: What it was found in; images and masks that are shown are read once more.
        folder: Gets the page.
        doubts: Labels that are probably wrong, as they are shown.

    Returns:
        The path of the page.

    Raises:
        UserError: If it cannot be written.
    """
    items = [item for members in data.splits.values() for item in members]
    images = {item.mask: item.image for item in items if item.mask}
    to_fix = _files_to_fix(check.findings)
    page = render_page(
        "segmenter.extras.checking",
        "check.html.jinja",
        check=check,
        doubts=doubts,
        in_short=_in_short(check, items, len(to_fix)),
        to_fix=to_fix,
        to_fix_uri=_text_uri(to_fix),
        findings=[(each, _cards(each, images, check)) for each in check.findings],
        samples=_samples(images, check.classes),
        num_listed=_NUM_LISTED,
        num_pictured=_NUM_PICTURED,
        num_values=_NUM_VALUES,
        unknown_color=_UNKNOWN_COLOR,
        ignored_color=_IGNORED_COLOR,
        rows=_rows(check),
        sizes=_sizes(check.splits),
        num_sizes=_NUM_SIZES,
        names=check.classes.names,
        range_lines=range_lines(check.classes.image) if check.classes.image else [],
    )
    return folder.write(PAGE_NAME, page)


def _samples(images: Mapping[Path, Path], classes: Classes) -> list[_Picture]:
    """Draw some images under their masks, spread over all splits."""
    masks = list(images)
    spread = masks[:: max(len(masks) // _NUM_SAMPLES, 1)][:_NUM_SAMPLES]
    drawn = (picture for mask in spread for picture in _pictures(mask, images, classes))
    return [picture for picture in drawn if picture.over]


def _in_short(check: Check, items: Sequence[Item], num_to_fix: int) -> str:
    """Say how many images are usable, and how many files to fix first."""
    usable = sum(split.num_usable for split in check.splits)
    without_mask = {
        path
        for finding in check.findings
        if finding.kind == "photo-without-mask"
        for problem in finding.problems
        for path in problem.paths
    }
    left_out = without_mask - {item.image for item in items}
    total = sum(split.num_images for split in check.splits) + len(left_out)
    fix = "; nothing needs fixing"
    if num_to_fix:
        fix = f"; fix {'this file' if num_to_fix == 1 else f'these {num_to_fix} files'} first"
    return f"{usable} of {total} images are usable for training{fix}."


def _files_to_fix(findings: Sequence[Finding]) -> list[str]:
    """Return the files with an error, each once, in the order of the findings."""
    paths = (
        str(path)
        for finding in findings
        if finding.severity is Severity.ERROR
        for problem in finding.problems
        for path in problem.paths
    )
    return list(dict.fromkeys(paths))


def _text_uri(lines: Sequence[str]) -> str:
    """Return a link that holds a text file."""
    text = "".join(f"{visible(line)}\n" for line in lines)
    return f"data:text/plain;charset=utf-8,{quote(text)}"


def _cards(finding: Finding, images: Mapping[Path, Path], check: Check) -> list[_Card]:
    return [_card(problem, images, check) for problem in finding.problems[:_NUM_PICTURED]]


def _card(problem: Problem, images: Mapping[Path, Path], check: Check) -> _Card:
    paths = [path for path in problem.paths if path.suffix.lower() != ".txt"]
    # An image whose mask is shown as well is drawn under it.
    covered = {images[path] for path in paths if path in images}
    shown = [path for path in paths if path not in covered]
    pictures = [picture for path in shown for picture in _pictures(path, images, check.classes)]
    return _Card(_short_message(problem.message, check.data), pictures[:_NUM_PICTURES])


def _short_message(message: str, data: str) -> str:
    """Return a message without the folder of the data set before its paths."""
    folder = data.partition(":")[2] if not Path(data).exists() and ":" in data else data
    return message.replace(f"{Path(folder)}/", "") if len(folder) > 1 else message


def _pictures(path: Path, images: Mapping[Path, Path], classes: Classes) -> list[_Picture]:
    """Draw a mask over its image; or both side by side, if they differ in size."""
    mask = _labels(path, classes) if path in images else None
    image = _image(images.get(path, path), classes)
    if mask is None:
        return [_picture(path.name, image)]
    if image is None or image.shape[:2] != mask.shape:
        name = images[path].name
        return [_picture(name, image), _picture(path.name, _drawn(mask, classes))]
    size = smaller_size(image.shape, _MAX_SIDE)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    over = cv2.addWeighted(small, 1 - _OPACITY, _drawn(mask, classes), _OPACITY, 0)
    over[_has_unknown(mask, size)] = _UNKNOWN_COLOR
    return [_Picture(path.name, data_uri(small), small.shape[:2], data_uri(np.asarray(over)))]


def _picture(name: str, drawn: UInt8[ndarray, "height width 3"] | None) -> _Picture:
    if drawn is None:
        return _Picture(name, None)
    size = smaller_size(drawn.shape, _MAX_SIDE)
    small = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA))
    return _Picture(name, data_uri(small), small.shape[:2])


def _image(path: Path, classes: Classes) -> UInt8[ndarray, "height width 3"] | None:
    try:
        return shown_pixels(decode_image(path, image=classes.image), classes.image)
    except UserError:
        return None


def _labels(path: Path, classes: Classes) -> Int32[ndarray, "height width"] | None:
    """Return the labels of a mask, -1 where a value has no class; None if it cannot be read."""
    try:
        raw = decode_mask(path, apply_palette=classes.is_rgb)
        return map_known_values(raw, classes, source=str(path))
    except (UserError, MaskError):
        return None


def _drawn(
    labels: Int32[ndarray, "height width"], classes: Classes
) -> UInt8[ndarray, "drawn_height drawn_width 3"]:
    """Draw the mask in the colours of its classes; pixels without a class stand out."""
    size = smaller_size(labels.shape, _MAX_SIDE)
    small = np.array(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), dtype=np.int32)
    is_class = (small >= 0) & (small < len(classes))
    drawn = np.full((*small.shape, 3), _IGNORED_COLOR, dtype=np.uint8)
    drawn[is_class] = np.take(classes.colors, small[is_class], axis=0)
    drawn[_has_unknown(labels, size)] = _UNKNOWN_COLOR
    return drawn


def _has_unknown(labels: Int32[ndarray, "height width"], size: tuple[int, int]) -> ndarray:
    """Return where a picture of (width, height) `size` covers a value without a class."""
    unknown = (labels < 0).astype(np.float32)
    return np.asarray(cv2.resize(unknown, size, interpolation=cv2.INTER_AREA)) > 0


def _rows(check: Check) -> list[_Row]:
    """Return a row for each class: its share of the labelled pixels in each split."""
    rows = []
    for index, info in enumerate(check.classes.by_index):
        shares = []
        for split in check.splits:
            total = int(split.pixel_counts.sum())
            share = int(split.pixel_counts[index]) / total if total else None
            shares.append(_Share(share, int(split.mask_counts[index]), split.num_usable))
        rows.append(_Row(info.name, info.color, shares))
    return rows


def _sizes(splits: Sequence[SplitFacts]) -> list[_Size]:
    """Image sizes over all splits, the commonest first."""
    counts: dict[tuple[int, int], int] = {}
    for split in splits:
        for size, count in split.sizes:
            counts[size] = counts.get(size, 0) + count
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [_Size(width, height, count) for (height, width), count in ordered]
