"""GeoTIFFs of any size: read, labelled and written a band of rows at a time (extra `geo`)."""

import contextlib
import copy
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt
from numpy import ndarray
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, SAMPLESPERPIXEL

from segmenter.classes import Classes
from segmenter.data.decoding.decode import FILE_LIMITS
from segmenter.data.decoding.tiff_layout import is_map, read_tags
from segmenter.data.maps.map_bands import MapBands
from segmenter.data.maps.raster_files import bounded_cache, import_rasterio, open_raster
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.files.outputs import OutputFolder
from segmenter.image_spec import ImageSpec, sample_type
from segmenter.inference.labels import Quantity
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import change_protocol
from segmenter.model import ModelSpec
from segmenter.predicting.images import Result
from segmenter.predicting.maps.map_outputs import MAP_FORMATS, MapOutputs
from segmenter.predicting.maps.place import Place, place_of
from segmenter.predicting.maps.polygons import region_polygons
from segmenter.predicting.maps.regions import ReadRows, find_regions
from segmenter.predicting.maps.vector_files import VECTOR_FILES, Features
from segmenter.runtimes.graph_fit import last_line

_MOST_IMAGE_BANDS = 4
_BLOCK = 512
_FEW_ROWS = 64
"""Rows of a block of probabilities, of which a row of blocks of all classes is in memory."""
_LEVELS = 250
"""Shares of 0 to 1 are written as bytes of 0 to 250; 255 marks pixels without data."""
_NO_SHARE = 255
_DEFAULT_WINDOW = 512
_CACHE_MB = 16
"""Rows are read and written in order, so that blocks are hardly needed again."""
_LABELS_ALONE = MapOutputs()


def is_raster(path: Path, most_bands: int = _MOST_IMAGE_BANDS) -> bool:
    """Return whether a TIFF has a georeference, or is not an image by its size or bands."""
    if path.suffix.lower() not in {".tif", ".tiff"}:
        return False
    try:
        with path.open("rb") as file:
            tags = read_tags(file)
        width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
        too_large = (
            height * width > FILE_LIMITS.max_pixels or max(height, width) > FILE_LIMITS.max_side
        )
        return is_map(tags) or too_large or tags.get(SAMPLESPERPIXEL, 1) > most_bands
    except Exception:
        return False  # whoever reads it says what is wrong with it


def most_image_bands(spec: ModelSpec) -> int:
    """Return the bands up to which a TIFF without a georeference is an image for this model."""
    return spec.image.file_bands if spec.image else _MOST_IMAGE_BANDS


def label_raster(
    predictor: Predictor,
    path: Path,
    folder: OutputFolder,
    name: str,
    outputs: MapOutputs = _LABELS_ALONE,
) -> Result:
    """Label a raster, and write rasters and polygons with the same georeference.

    Pixels are taken as they are: nothing is resized, the protocol's window slides over all of them.
    Where the raster has no data, neither has the label map.

    Args:
        predictor: What labels it; its model takes as many channels as the raster has bands.
        path: The raster; tiled ones are quickest.
        folder: Where files such as NAME_label.tif are written, all of them or none.
        name: What the files are called, without their endings.
        outputs: Which files.

    Raises:
        UserError: If rasterio is not installed, or a file cannot be written; a raster that cannot
            be read is said in the result.
    """
    start = time.perf_counter()
    classes = predictor.classes
    try:
        with (
            bounded_cache(_CACHE_MB),
            _Raster(path, predictor.spec) as raster,
            _scratch(folder) as scratch,
        ):
            place = place_of(raster.file, str(path)) if outputs.has_polygons else None
            rasters: dict[Quantity, Path] = {
                each: scratch / f"{each}.tif" for each in outputs.quantities
            }
            counts = _write_rasters(predictor, raster, rasters)
            if place is not None:
                _write_polygons(rasters, place, classes, outputs, Path(name).name)
            written = _publish(rasters, scratch, folder, name, outputs)
    except (UserError, MemoryError) as error:
        problem = str(error) if isinstance(error, UserError) else f"{path} does not fit into memory"
        return Result(path, (), np.zeros(len(classes)), time.perf_counter() - start, problem)
    known = counts[: len(classes)]
    shares = known / max(int(known.sum()), 1)
    return Result(path, written, shares, time.perf_counter() - start)


@contextlib.contextmanager
def _scratch(folder: OutputFolder) -> Iterator[Path]:
    """Give a folder on the disk of the results, which is gone afterwards."""
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".segmenter-", suffix=".tmp", dir=folder.root
        ) as name:
            yield Path(name)
    except OSError as error:
        raise UserError(f"{folder.root} cannot be written: {error.strerror}") from None


def _write_rasters(
    predictor: Predictor, raster: "_Raster", paths: Mapping[Quantity, Path]
) -> Int[ndarray, " labels"]:
    """Run the model, write a raster of each quantity, and return the pixels of each label."""
    classes = predictor.classes
    counts = np.zeros(classes.ignore_index + 1, dtype=np.int64)
    with contextlib.ExitStack() as stack:
        files: dict[Quantity, _RowWriter] = {
            each: stack.enter_context(_quantity_file(path, raster, predictor, each))
            for each, path in paths.items()
        }
        for rows, found in _at_full_size(predictor).rows(raster, *paths):
            missing = raster.is_missing(rows)
            labels = found["labels"]
            labels[missing] = classes.ignore_index
            counts += np.bincount(labels.ravel(), minlength=len(counts))
            for each, file in files.items():
                values = found[each]
                if each != "labels":
                    values = np.rint(values * _LEVELS).astype(np.uint8)
                    values[..., missing] = _NO_SHARE
                file.add(values)
        for file in files.values():
            file.finish()
    for each, path in paths.items():
        _check_written(path, files[each].checksums)
    return counts


def _write_polygons(
    rasters: Mapping[Quantity, Path],
    place: Place,
    classes: Classes,
    outputs: MapOutputs,
    layer: str,
) -> None:
    """Write the vector files of a map beside its rasters."""
    ignored, background = classes.ignore_index, classes.background_index
    without = [ignored] if background is None else [ignored, background]
    with contextlib.ExitStack() as stack:
        read_labels = stack.enter_context(_reading(rasters["labels"]))
        regions = find_regions(
            place.size,
            read_labels,
            stack.enter_context(_reading(rasters["confidence"])),
            min_pixels=outputs.min_area / place.pixel_area(),
            ignore_index=ignored,
        )
        writers = [
            stack.enter_context(open_file(rasters["labels"].with_suffix(f".{each}"), layer, place))
            for each, open_file in VECTOR_FILES.items()
            if each in outputs.save
        ]
        for polygons, numbers in region_polygons(
            regions, read_labels, tolerance=outputs.tolerance, without=without
        ):
            class_ids = regions.labels[numbers]
            features = Features(
                polygons,
                class_ids,
                [classes.names[each] for each in class_ids],
                place.areas(polygons),
                regions.confidence[numbers] / _LEVELS,
            )
            for write in writers:
                write(features)


def _opened(path: Path) -> Any:
    """Open a raster that may have no coordinates."""
    rasterio = import_rasterio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[ReadRows]:
    """Open a raster of one band; yield a function that reads rows."""
    window = import_rasterio().windows.Window
    with _opened(path) as file:
        yield lambda top, bottom: file.read(1, window=window(0, top, file.width, bottom - top))


def _check_written(path: Path, checksums: list[int]) -> None:
    """Read a raster back: where the disk is full, GDAL may close a file that lacks its end.

    Args:
        path: The raster.
        checksums: Checksum of each band; see `_RowWriter.checksums`.

    Raises:
        UserError: If it holds something else than was written.
    """
    rasterio = import_rasterio()
    try:
        found = _checksums(path)
    except rasterio.errors.RasterioError:
        found = None
    if found != checksums:
        raise UserError("the map cannot be written whole: the disk may be full")


def _checksums(path: Path) -> list[int]:
    """Return the CRC-32 of each band of a raster, from its first row to its last."""
    make_window = import_rasterio().windows.Window
    with _opened(path) as file:
        found = [0] * file.count
        step = file.block_shapes[0][0]
        for top in range(0, file.height, step):
            window = make_window(0, top, file.width, min(step, file.height - top))
            found = list(map(crc32, file.read(window=window), found))
    return found


def _publish(
    rasters: Mapping[Quantity, Path],
    scratch: Path,
    folder: OutputFolder,
    name: str,
    outputs: MapOutputs,
) -> tuple[Path, ...]:
    """Move finished files to the results, and return their paths."""
    written = []
    for each in outputs.save:
        quantity, file_name = MAP_FORMATS[each].quantity, name + MAP_FORMATS[each].ending
        made = rasters[quantity] if quantity else rasters["labels"].with_suffix(f".{each}")
        if outputs.cog and quantity:
            made = _cloud_optimised(made, scratch / f"{each}.cog.tif")
        with folder.writing(file_name) as temporary:
            made.replace(temporary)
        written.append(folder.root / file_name)
    return tuple(written)


def _cloud_optimised(path: Path, into: Path) -> Path:
    """Copy a raster to a cloud-optimised GeoTIFF, with overviews."""
    is_labels = path.stem == "labels"
    options = {
        "compress": "deflate",
        "blocksize": _BLOCK,
        "overview_resampling": "nearest" if is_labels else "average",
        "bigtiff": "if_safer",
    }
    try:
        import_optional("a GeoTIFF", "rasterio.shutil", extra="geo").copy(
            path, into, driver="COG", **options
        )
    except Exception as error:  # GDAL's own errors and rasterio's have no class in common
        raise UserError(f"the map cannot be written: {last_line(error)}") from None
    _check_written(into, _checksums(path))
    return into


class _Raster:
    """A GeoTIFF whose rows are read as they are asked for; see `resizing.ImageRows`."""

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self.path = path
        self.dtype = np.dtype(spec.image.dtype if spec.image else np.uint8)
        self.file = open_raster(path)
        try:
            bands = self._bands(spec.encoder.in_channels, spec.image)
        except UserError:
            self.file.close()
            raise
        self.values = MapBands(self.file, bands)
        self.shape = (self.file.height, self.file.width, len(bands))

    def __enter__(self) -> "_Raster":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getitem__(self, rows: slice, /) -> Shaped[ndarray, "rows width channels"]:
        """Return some rows of all bands; see `MapBands` for pixels without data."""
        values = self.values.read(self.window(rows))
        return np.moveaxis(values, 0, 2).astype(self.dtype, copy=False)

    def is_missing(self, rows: slice) -> Bool[ndarray, "rows width"]:
        """Return the pixels without data."""
        return self.values.is_missing(self.window(rows))

    def window(self, rows: slice) -> Any:
        """Return whole rows as rasterio's window."""
        start, stop, _ = rows.indices(self.file.height)
        return import_rasterio().windows.Window(0, start, self.file.width, stop - start)

    def _bands(self, num_channels: int, image: ImageSpec | None) -> list[int]:
        """Return the numbers of the bands for the model, from 1; one grey band may go thrice."""
        if image is not None:
            return self._chosen_bands(image)
        if set(self.file.dtypes) != {"uint8"}:
            raise UserError(
                f"{self.path} holds {self.file.dtypes[0]}; models take bytes of 0 to 255: scale it "
                "as the training images were, for example with `gdal_translate -ot Byte -scale`"
            )
        bands = self._counted_bands(num_channels)
        is_palette = any(each.name == "palette" for each in self.file.colorinterp)
        if len(bands) == 1 and num_channels == 3 and not is_palette:
            return bands * 3
        if len(bands) != num_channels or is_palette:
            what = "a palette" if is_palette else f"{len(bands)} bands"
            raise UserError(f"{self.path} has {what}, this model takes {num_channels} bands")
        return bands

    def _chosen_bands(self, image: ImageSpec) -> list[int]:
        """Return the numbers of the bands for a model that names them."""
        bands = self._counted_bands(image.file_bands)
        types = {sample_type(np.dtype(self.file.dtypes[band - 1])) for band in bands}
        if len(bands) != image.file_bands or types != {image.dtype}:
            found = f"{self.file.count} bands of {self.file.dtypes[0]}"
            raise UserError(f"{self.path} has {found}, but this model takes {image}")
        return [bands[band - 1] for band in image.bands]

    def _counted_bands(self, wanted: int) -> list[int]:
        """Return the numbers of all bands, or if these are not as many as wanted, of the opaque."""
        if self.file.count == wanted:
            return list(range(1, wanted + 1))
        names = [each.name for each in self.file.colorinterp]
        return [number for number, name in enumerate(names, start=1) if name != "alpha"]


class _RowWriter:
    """Appends rows to a raster in whole blocks: a compressed block is best written once."""

    def __init__(self, file: Any, block_rows: int) -> None:
        self.file, self.block_rows = file, block_rows
        self.checksums = [0] * file.count
        """CRC-32 of each band, as far as it is written."""
        self._top = 0
        self._waiting: list[ndarray] = []

    def add(self, rows: UInt[ndarray, "*bands rows width"]) -> None:
        """Append rows of all bands."""
        self._waiting.append(rows if rows.ndim == 3 else rows[None])
        num_rows = sum(each.shape[1] for each in self._waiting)
        if num_rows >= self.block_rows:
            self._write(num_rows // self.block_rows * self.block_rows)

    def finish(self) -> None:
        """Write what is left."""
        self._write(sum(each.shape[1] for each in self._waiting))

    def _write(self, num_rows: int) -> None:
        if num_rows:
            window = import_rasterio().windows.Window(0, self._top, self.file.width, num_rows)
            whole = np.concatenate(self._waiting, axis=1)
            done = np.ascontiguousarray(whole[:, :num_rows])
            self.file.write(done, window=window)
            self.checksums = list(map(crc32, done, self.checksums))
            self._top, self._waiting = self._top + num_rows, [whole[:, num_rows:]]


@contextlib.contextmanager
def _quantity_file(
    path: Path, raster: _Raster, predictor: Predictor, quantity: Quantity
) -> Iterator[_RowWriter]:
    """Open a new tiled GeoTIFF with the place of `raster` for labels or shares."""
    rasterio = import_rasterio()
    classes = predictor.classes
    is_labels, is_whole = quantity == "labels", quantity == "probabilities"
    height, width, _ = raster.shape
    points, points_crs = raster.file.gcps
    block_rows = _FEW_ROWS if is_whole else _BLOCK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=len(classes) if is_whole else 1,
                dtype=np.dtype(classes.label_dtype).name if is_labels else "uint8",
                nodata=classes.ignore_index if is_labels else _NO_SHARE,
                crs=raster.file.crs,
                transform=raster.file.transform,
                tiled=True,
                blockxsize=_BLOCK,
                blockysize=block_rows,
                compress="deflate",
                interleave="band",
                photometric="minisblack",  # else GDAL takes a fourth class for transparency
                bigtiff="if_safer",
            ) as target:
                if points:
                    target.gcps = (points, points_crs)
                if raster.file.rpcs:
                    target.rpcs = raster.file.rpcs
                if is_labels:
                    _name_classes(target, classes)
                else:
                    target.scales = (1 / _LEVELS,) * target.count
                    target.descriptions = classes.names if is_whole else (quantity,)
                yield _RowWriter(target, block_rows)
        except rasterio.errors.RasterioError as error:
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise UserError(f"the labels of {raster.path} cannot be written: {reason}") from None


def _name_classes(target: Any, classes: Classes) -> None:
    """Give a label map the colours and names of the classes."""
    if classes.label_dtype is np.uint8:
        colors = classes.colors.tolist()
        target.write_colormap(1, {i: (*color, 255) for i, color in enumerate(colors)})
    target.update_tags(**{f"class_{i}": name for i, name in enumerate(classes.names)})


def _at_full_size(predictor: Predictor) -> Predictor:
    """Return the same model, through windows over the pixels as they are."""
    protocol, encoder = predictor.protocol, predictor.spec.encoder
    window = protocol.window or encoder.table_side or _DEFAULT_WINDOW
    changes = {
        "short_side": None,
        "scales": (1.0,),
        "small_image": "as-is",
        "window": window,
        "stride": protocol.stride or window,
    }
    at_full_size = copy.copy(predictor)
    at_full_size.protocol = change_protocol(protocol, changes)
    return at_full_size
