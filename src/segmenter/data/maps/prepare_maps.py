"""`segmenter prepare maps SOURCE OUT`: make a data set of GeoTIFFs and their labels."""

import contextlib
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Shaped
from numpy import ndarray
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

from segmenter.classes import Classes, read_classes
from segmenter.data.annotations.annotation_set import AnnotationSet
from segmenter.data.annotations.class_table import (
    UNLABELLED_CHOICES,
    ClassTable,
    build_classes,
)
from segmenter.data.annotations.convert_export import Conversion, print_made
from segmenter.data.folder import CLASSES_FILE
from segmenter.data.maps.labels import (
    IGNORED,
    UNLABELLED,
    MapLabels,
    is_vector_file,
    open_labels,
    sorted_names,
)
from segmenter.data.maps.map_bands import MapBands
from segmenter.data.maps.raster_files import (
    ASSIGN_CRS,
    bounded_cache,
    import_rasterio,
    open_raster,
    reading,
)
from segmenter.data.maps.sources import LabelledMap, find_maps
from segmenter.data.maps.windows import (
    BlockGrid,
    MapWindow,
    block_of,
    choose_val_blocks,
    split_of,
)
from segmenter.data.new_data_set import (
    aside,
    check_new,
    check_outside,
    make_folder,
    rename,
    write_file,
)
from segmenter.drawing import label_map_png
from segmenter.errors import UserError
from segmenter.files.outputs import write_atomically
from segmenter.image_spec import MAX_BANDS
from segmenter.options import MapWindows, Unlabelled
from segmenter.terminal import progress_bar

_LEAST_SIDE, _MOST_SIDE = 32, 4096
_CACHE_MB = 256
"""Holds two rows of blocks of most maps, which a row of tiles may touch."""
_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
"""Types of bands that are read."""
_BAND_TAGS = ("scales", "offsets", "units", "descriptions")
"""Tags of bands that tiles have as their map; values are stored as they are in the map."""
_COLUMNS = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


class _Found(NamedTuple):
    """A window with labels."""

    map: int
    """Number of its map."""
    window: MapWindow


def convert_maps(
    source: Path,
    out: Path,
    options: MapWindows,
    *,
    unlabelled: Unlabelled | None = None,
) -> Conversion:
    """Make a data set (images, masks, classes.yaml) of maps; all of it, or nothing.

    Args:
        source: See `find_maps`.
        out: The folder to make; it must not be there.
        options: Labels, their field and classes, the windows and the split.
        unlabelled: What pixels are that no shape covers.

    Raises:
        UserError: If something is in the way, missing, damaged or not clear.
    """
    _check_options(options)
    check_new(out)
    import_rasterio()
    maps = find_maps(source, options.labels)
    for folder in filter(None, (source, options.labels)):
        check_outside(out, folder)
    classes = read_classes(options.classes) if options.classes else None
    bands = _check_bands(maps)
    if options.field is not None and not any(is_vector_file(each.labels) for each in maps):
        raise UserError(
            "--field names a field of vector files, and the labels are rasters: omit it"
        )
    labels = {each.labels: open_labels(each.labels, options.field, classes) for each in maps}
    table = _class_table(list(labels.values()), classes, unlabelled, source)
    found = _find_windows(maps, labels, bands, options, unlabelled)
    val_blocks = choose_val_blocks((each.window for each in found), options.val_share)
    if not val_blocks:
        raise UserError(
            "all labels lie in one area, so none is left for val; make areas smaller with "
            "--block 1 or --tile, or give more maps"
        )
    splits = {each: split_of(each.window, val_blocks) for each in found}
    for split in {"train", "val"} - set(splits.values()):
        raise UserError(
            f"all windows of {split} lie across areas of both splits; make areas larger with "
            "--block"
        )
    kept = _evenly([each for each in found if splits[each]], options.max_tiles)
    made = Conversion(out, Counter(str(splits[each]) for each in kept), table.classes.names)
    with aside(out) as folder:
        writer = _Writer(folder / "set", maps, labels, table, bands)
        made.remarks = [*_left_out_bands(maps[0].image, bands)]
        made.remarks += writer.write([(each, str(splits[each])) for each in kept])
        content = table.classes.to_yaml().encode()
        write_atomically(folder / "set" / CLASSES_FILE, content)
        rename(folder / "set", out)
    straddling = sum(split is None for split in splits.values())
    if straddling:
        made.remarks.append(
            f"{straddling} windows lie across areas of both splits, and are left out"
        )
    return made


def run_preparation(
    source: Path, out: Path, options: MapWindows, unlabelled: Unlabelled | None
) -> None:
    """Make a data set of maps, and say what was made.

    Raises:
        UserError: As `convert_maps`.
    """
    with bounded_cache(_CACHE_MB):
        made = convert_maps(source, out, options, unlabelled=unlabelled)
    print_made(made)


def _check_options(options: MapWindows) -> None:
    if not _LEAST_SIDE <= options.tile <= _MOST_SIDE:
        raise UserError(f"--tile is from {_LEAST_SIDE} to {_MOST_SIDE} pixels, got {options.tile}")
    if options.block < 1:
        raise UserError(f"--block is 1 or more tiles, got {options.block}")
    if not 0 < options.val_share < 1:
        raise UserError(f"--val-share is above 0 and below 1, got {options.val_share}")
    if options.max_tiles is not None and options.max_tiles < 2:
        raise UserError(f"--max-tiles is 2 or more, got {options.max_tiles}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with open_raster(path) as file, reading(path):
        yield file


def _check_bands(maps: Sequence[LabelledMap]) -> list[int]:
    """Return the numbers of the bands to keep, equal for all maps.

    Raises:
        UserError: If maps differ in number or type of their bands, or have a palette.
    """
    first = None
    for path in (each.image for each in maps):
        with _opened(path) as file:
            colors = [each.name for each in file.colorinterp]
            kept = [number for number, name in enumerate(colors, start=1) if name != "alpha"]
            if len(kept) not in (1, 3) or set(file.dtypes) != {"uint8"}:
                kept = list(range(1, file.count + 1))
            found = f"{len(kept)} bands of {file.dtypes[0]}{_scaling(file, kept)}"
            is_mixed = len(set(file.dtypes)) > 1 or file.dtypes[0] not in _TYPES
            if "palette" in colors or is_mixed or len(kept) > MAX_BANDS:
                raise UserError(
                    f"{path} has a palette, bands of several types, complex numbers, or more than "
                    f"{MAX_BANDS} bands; convert it, for example with `gdal_translate -expand rgb` "
                    "or `-ot UInt16`"
                )
            first = first or (path, found, kept)
            if found != first[1]:
                raise UserError(
                    f"{path} has {found}, but {first[0]} has {first[1]}; all maps of a data set "
                    "have the same"
                )
    return first[2] if first else []


def _scaling(file: Any, bands: Sequence[int]) -> str:
    """Return how stored values become quantities, for messages; empty if they are these."""
    pairs = [(file.scales[band - 1], file.offsets[band - 1]) for band in bands]
    if set(pairs) == {(1.0, 0.0)}:
        return ""
    pairs = pairs[:1] if len(set(pairs)) == 1 else pairs
    return " with scale and offset " + ", ".join(f"{scale:g} {shift:g}" for scale, shift in pairs)


def _left_out_bands(path: Path, kept: Sequence[int]) -> Iterator[str]:
    """Yield a remark if a band counts as transparency: GDAL writes a fourth band of bytes so."""
    with _opened(path) as file:
        for band in set(range(1, file.count + 1)) - set(kept):
            yield (
                f"band {band} of {path} is its transparency, and is left out; if it holds values, "
                f"such as near infrared, say so first: gdal_edit -colorinterp_{band} undefined FILE"
            )


def _class_table(
    labels: Sequence[MapLabels],
    classes: Classes | None,
    unlabelled: Unlabelled | None,
    source: Path,
) -> ClassTable:
    """Return the classes of all labels, in the order of the file of classes, or of their names."""
    export = AnnotationSet()
    if classes is not None:
        export.classes = {each.name: each.color for each in classes.by_index}
    else:
        names = sorted_names(name for each in labels for name in each.names)
        export.classes = dict.fromkeys(names if len(labels) > 1 else labels[0].names)
    return build_classes(export, unlabelled, str(source))


def _find_windows(
    maps: Sequence[LabelledMap],
    labels: dict[Path, MapLabels],
    bands: list[int],
    options: MapWindows,
    unlabelled: Unlabelled | None,
) -> list[_Found]:
    """Return the windows of which enough is labelled, map by map.

    Raises:
        UserError: If there are none, or pixels without a shape and nobody says what they are.
    """
    found = []
    with _opened(maps[0].image) as first:
        grid = BlockGrid(first, options.block * options.tile)
    with progress_bar("finding labels", len(maps), *_COLUMNS) as advance:
        for number, each in enumerate(maps):
            with _opened(each.image) as image, labels[each.labels].on(image) as read:
                if (image.crs is None) != (grid.crs is None):
                    raise UserError(
                        f"{each.image} and {maps[0].image}: one has a coordinate reference system, "
                        f"one has none; {ASSIGN_CRS}"
                    )
                before, values = len(found), MapBands(image, bands)
                for window in grid.windows(image, number, options.tile):
                    of_window = read(_rasterio_window(window))
                    of_window[values.is_missing(_rasterio_window(window))] = IGNORED
                    if unlabelled is None and (of_window == UNLABELLED).any():
                        raise UserError(
                            f"{each.labels} leaves pixels of {each.image} without a shape; say "
                            f"what they are: {UNLABELLED_CHOICES}"
                        )
                    least = IGNORED if unlabelled == "background" else UNLABELLED
                    if (of_window > least).mean() >= options.min_labelled:
                        found.append(_Found(number, window))
                if len(found) == before:
                    raise UserError(
                        f"{each.image} has no window with labels of {each.labels}; omit it, "
                        "or lower --min-labelled"
                    )
            advance()
    return found


def _rasterio_window(window: MapWindow) -> Any:
    windows = import_rasterio().windows
    return windows.Window(window.left, window.top, window.width, window.height)


def _evenly(found: list[_Found], most: int | None) -> list[_Found]:
    """Return at most this number of windows, spread evenly over areas and maps."""
    if most is None or len(found) <= most:
        return found
    ordered = sorted(found, key=lambda each: (block_of(each.window), each))
    chosen = {ordered[int((i + 0.5) * len(ordered) / most)] for i in range(most)}
    return [each for each in found if each in chosen]


def _distinct_names(stems: Sequence[str]) -> list[str]:
    """Return a name for each map: its stem, with a number behind it where another has it."""
    counts = Counter(stems)
    names, taken = [], {stem for stem in stems if counts[stem] == 1}
    for number, stem in enumerate(stems):
        name = stem
        if counts[stem] > 1:
            forms = (f"{stem}-{each}" for each in itertools.count(number))
            name = next(form for form in forms if form not in taken)
            taken.add(name)
        names.append(name)
    return names


class _Writer:
    """Writes windows as GeoTIFFs and masks."""

    def __init__(
        self,
        root: Path,
        maps: Sequence[LabelledMap],
        labels: dict[Path, MapLabels],
        table: ClassTable,
        bands: list[int],
    ) -> None:
        self.root, self.maps, self.labels, self.table = root, maps, labels, table
        self.bands = bands

    def write(self, windows: Sequence[tuple[_Found, str]]) -> list[str]:
        """Write windows and return remarks."""
        names = _distinct_names([each.image.stem for each in self.maps])
        seen: dict[str, set[int]] = {"train": set(), "val": set()}
        with progress_bar("cutting", len(windows), *_COLUMNS) as advance:
            for number, each in enumerate(self.maps):
                chosen = [(found.window, split) for found, split in windows if found.map == number]
                with _opened(each.image) as image, self.labels[each.labels].on(image) as read:
                    indices = self._indices(self.labels[each.labels])
                    values = MapBands(image, self.bands)
                    for window, split in chosen:
                        pixels = values.read(_rasterio_window(window))
                        labels = indices[read(_rasterio_window(window))]
                        missing = values.is_missing(_rasterio_window(window))
                        labels[missing] = self.table.classes.ignore_index
                        seen[split] |= set(np.unique(labels).tolist())
                        path = f"{split}/{names[number]}_{window.top}_{window.left}"
                        self._save(path, pixels, labels, image, window)
                        advance()
        return self._remarks(seen)

    def _indices(self, labels: MapLabels) -> Int32[ndarray, " labels"]:
        """Return the index of each label of a file; the last two are `IGNORED`, `UNLABELLED`."""
        ignored = self.table.classes.ignore_index
        open_pixels = self.table.unlabelled
        tail = [ignored, ignored if open_pixels is None else open_pixels]
        return np.array([*(self.table.indices[name] for name in labels.names), *tail], np.int32)

    def _save(
        self,
        path: str,
        pixels: Shaped[ndarray, "bands height width"],
        labels: Int32[ndarray, "height width"],
        image: Any,
        window: MapWindow,
    ) -> None:
        classes = self.table.classes
        png = label_map_png(
            labels.astype(classes.label_dtype), classes.colors, classes.ignore_index
        )
        write_file(self.root / "masks" / f"{path}.png", png)
        file = self.root / "images" / f"{path}.tif"
        make_folder(file.parent)
        rasterio = import_rasterio()
        count, height, width = pixels.shape
        a, b, c, d, e, f = tuple(image.transform)[:6]
        left, top = window.left, window.top
        place = rasterio.Affine(a, b, a * left + b * top + c, d, e, d * left + e * top + f)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            try:
                with rasterio.open(
                    file,
                    "w",
                    driver="GTiff",
                    height=height,
                    width=width,
                    count=count,
                    dtype=pixels.dtype.name,
                    crs=image.crs,
                    transform=place,
                    compress="deflate",
                    alpha="no",  # else a fourth band of bytes would be transparency
                ) as target:
                    target.write(pixels)
                    for tag in _BAND_TAGS:
                        of_map = getattr(image, tag)
                        setattr(target, tag, [of_map[band - 1] for band in self.bands])
            except rasterio.errors.RasterioError as error:
                raise UserError(f"{file.name} cannot be written: {error}") from None

    def _remarks(self, seen: dict[str, set[int]]) -> list[str]:
        names = self.table.classes.names
        absent = {
            split: [name for index, name in enumerate(names) if index not in found]
            for split, found in seen.items()
        }
        return [
            f"no window of {split} has {', '.join(missing)}; other areas: change --block or "
            "--val-share"
            for split, missing in absent.items()
            if missing
        ]
