"""Find maps and their labels on the disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segmenter.data.pairing.file_names import composed
from segmenter.errors import UserError

RASTER_SUFFIXES = (".tif", ".tiff")
VECTOR_SUFFIXES = (".geojson", ".json", ".gpkg", ".shp")
_LABEL_WORDS = ("", "_label", "_labels", "_mask", "_masks")
_IMAGE_FOLDER, _LABEL_FOLDERS = "images", ("labels", "masks")
_MOST_LIST_BYTES = 1 << 24


class LabelledMap(NamedTuple):
    """A raster and the file with its labels."""

    image: Path
    labels: Path


def find_maps(source: Path, labels: Path | None) -> list[LabelledMap]:
    """Return the maps of a source, in the order of their names or of the list.

    Args:
        source: A GeoTIFF, a folder of GeoTIFFs, a folder with `images` and `labels`, or a text file
            with an image and its labels in each line.
        labels: A file for all maps, or a folder with a file for each.

    Raises:
        UserError: If no map is found, or one has no labels or several.
    """
    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    if source.suffix.lower() == ".txt" and source.is_file():
        if labels is not None:
            raise UserError(f"{source} lists images and labels; omit --labels")
        return _listed(source)
    folder = source
    if labels is None:
        names = (source / each for each in _LABEL_FOLDERS)
        labels = next((each for each in names if each.is_dir()), None)
        if labels is None:
            raise UserError(
                f"the labels of {source} are missing: give a file or folder with --labels, or a "
                "SOURCE with the folders images and labels"
            )
        folder = source / _IMAGE_FOLDER
    if not labels.exists():
        raise UserError(f"no such file or folder: {labels}")
    images = [source] if source.is_file() else _files(folder, RASTER_SUFFIXES)
    if not images:
        raise UserError(f"{folder} holds no GeoTIFF (.tif, .tiff)")
    if labels.is_file():
        own = labels.resolve()
        return [LabelledMap(image, labels) for image in images if image.resolve() != own]
    files = _files(labels, (*RASTER_SUFFIXES, *VECTOR_SUFFIXES))
    return [LabelledMap(image, _labels_of(image, files, labels)) for image in images]


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")
    )


def _labels_of(image: Path, files: Sequence[Path], folder: Path) -> Path:
    names = {composed(image.stem) + word for word in _LABEL_WORDS}
    found = [path for path in files if composed(path.stem) in names and path != image]
    if len(found) != 1:
        which = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{image} needs one file of labels in {folder}, called {image.stem} or "
            f"{image.stem}_label with the suffix of a vector file or raster; found: {which}"
        )
    return found[0]


def _listed(source: Path) -> list[LabelledMap]:
    if source.stat().st_size > _MOST_LIST_BYTES:
        raise UserError(f"{source} is larger than a list of maps; give a folder, or a shorter list")
    maps = []
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{source} is not text in UTF-8; save the list as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        words = line.split("\t") if "\t" in line else line.split()
        if not words:
            continue
        if len(words) != 2:
            raise UserError(
                f"{source}, line {number}: {len(words)} words; a line has an image and its labels, "
                "with a tab between them if names hold spaces"
            )
        image, labels = (source.parent / word.strip() for word in words)
        for path in (image, labels):
            if not path.is_file():
                raise UserError(f"{source}, line {number}: no such file: {path}")
        maps.append(LabelledMap(image, labels))
    if not maps:
        raise UserError(f"{source} is empty; a line has an image and its labels")
    return maps
