"""GeoTIFFs of any size: read, labelled and written a band of rows at a time (extra `geo`)."""

import contextlib
import copy
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt, UInt8
from numpy import ndarray
from PIL.TiffImagePlugin import (
    IMAGELENGTH,
    IMAGEWIDTH,
    SAMPLESPERPIXEL,
    ImageFileDirectory_v2,
)

from segmenter.data.decoding.decode import FILE_LIMITS
from segmenter.errors import UserError
from segmenter.files.optional import import_optional
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import change_protocol
from segmenter.predicting.images import Result

RASTER_ENDING = "_label.tif"
"""Of what is written for a raster."""

_GEO_TAGS = (33550, 33922, 34264, 34735)
"""Pixel scale, tie points, transformation, keys: any of them makes a TIFF a map."""
_BIG = 43
"""In the header of a BigTIFF."""
_MOST_IMAGE_BANDS = 4
_BLOCK = 512
_DEFAULT_WINDOW = 512
_CACHE_MB = 256


def is_raster(path: Path) -> bool:
    """Return whether a TIFF has a georeference, or is no image by its size or bands."""
    if path.suffix.lower() not in {".tif", ".tiff"}:
        return False
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            header = file.read(8)
            tags = ImageFileDirectory_v2(header + file.read(8) if header[2] == _BIG else header)
            file.seek(tags.next)
            tags.load(file)
            width, height = tags[IMAGEWIDTH], tags[IMAGELENGTH]
            too_large = (
                height * width > FILE_LIMITS.max_pixels or max(height, width) > FILE_LIMITS.max_side
            )
            is_map = any(tag in tags for tag in _GEO_TAGS)
            return is_map or too_large or tags.get(SAMPLESPERPIXEL, 1) > _MOST_IMAGE_BANDS
    except Exception:
        return False  # whoever reads it says what is wrong with it


def label_raster(predictor: Predictor, path: Path, folder: OutputFolder, name: str) -> Result:
    """Label a raster, and write the labels as a GeoTIFF with the same georeference.

    Pixels are taken as they are: nothing is resized, the protocol's window slides over all of them.
    Where the raster has no data, neither has the label map.

    Args:
        predictor: What labels it; its model takes as many channels as the raster has bands.
        path: The raster; tiled ones are quickest.
        folder: Where NAME_label.tif is written.
        name: What the file is called.

    Raises:
        UserError: If rasterio is not installed, or the file cannot be written; a raster that cannot
            be read is said in the result.
    """
    start = time.perf_counter()
    rasterio = import_rasterio()
    classes = predictor.classes
    counts = np.zeros(classes.ignore_index + 1, dtype=np.int64)
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=_CACHE_MB),
            _Raster(path, predictor.model.spec.encoder.in_channels) as raster,
            folder.writing(name + RASTER_ENDING) as temporary,
            _label_file(temporary, raster, predictor) as target,
        ):
            for top, labels in _in_blocks(_at_full_size(predictor).label_rows(raster)):
                rows = slice(top, top + len(labels))
                labels[raster.is_missing(rows)] = classes.ignore_index
                counts += np.bincount(labels.ravel(), minlength=len(counts))
                target.write(labels, 1, window=raster.window(rows))
    except (UserError, MemoryError) as error:
        problem = str(error) if isinstance(error, UserError) else f"{path} does not fit into memory"
        return Result(path, (), np.zeros(len(classes)), time.perf_counter() - start, problem)
    known = counts[: len(classes)]
    shares = known / max(int(known.sum()), 1)
    output = folder.root / (name + RASTER_ENDING)
    return Result(path, (output,), shares, time.perf_counter() - start)


def import_rasterio() -> Any:
    """Return the library for GeoTIFFs.

    Raises:
        UserError: If it is not installed.
    """
    return import_optional("a GeoTIFF", "rasterio", extra="geo")


class _Raster:
    """A GeoTIFF whose rows are read as they are asked for; see `resizing.ImageRows`."""

    def __init__(self, path: Path, num_channels: int) -> None:
        self.path = path
        with self._naming():
            self.file = import_rasterio().open(path, driver="GTiff")
        try:
            self.bands = self._bands(num_channels)
        except UserError:
            self.file.close()
            raise
        self.shape = (self.file.height, self.file.width, len(self.bands))

    def __enter__(self) -> "_Raster":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getitem__(self, rows: slice, /) -> UInt8[ndarray, "rows width channels"]:
        """Return some rows of all bands."""
        with self._naming():
            return np.moveaxis(self.file.read(self.bands, window=self.window(rows)), 0, 2)

    def is_missing(self, rows: slice) -> Bool[ndarray, "rows width"]:
        """Return where there are no data: nodata in all bands, or transparent."""
        with self._naming():
            return self.file.dataset_mask(window=self.window(rows)) == 0

    def window(self, rows: slice) -> Any:
        """Return whole rows as rasterio's window."""
        start, stop, _ = rows.indices(self.file.height)
        return import_rasterio().windows.Window(0, start, self.file.width, stop - start)

    def _bands(self, num_channels: int) -> list[int]:
        """Return the numbers of the bands for the model, from 1; one grey band may go thrice."""
        colors = [interpretation.name for interpretation in self.file.colorinterp]
        bands = [number for number, name in enumerate(colors, start=1) if name != "alpha"]
        if set(self.file.dtypes) != {"uint8"}:
            raise UserError(
                f"{self.path} holds {self.file.dtypes[0]}; models take bytes of 0 to 255: scale it "
                "as the training images were, such as with `gdal_translate -ot Byte -scale`"
            )
        if len(bands) == 1 and num_channels == 3 and colors[0] != "palette":
            return bands * 3
        if len(bands) != num_channels or "palette" in colors:
            what = "a palette" if "palette" in colors else f"{len(bands)} bands"
            raise UserError(f"{self.path} has {what}, this model takes {num_channels} bands")
        return bands

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn what GDAL raises on bad bytes into one line."""
        errors = import_rasterio().errors
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
                yield
        except errors.RasterioError as error:
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise UserError(f"{self.path} is cut, damaged or no GeoTIFF: {reason}") from None


@contextlib.contextmanager
def _label_file(path: Path, raster: _Raster, predictor: Predictor) -> Iterator[Any]:
    """Open a new tiled GeoTIFF with the place of `raster`, and colours and names of classes."""
    rasterio = import_rasterio()
    classes = predictor.classes
    height, width, _ = raster.shape
    points, points_crs = raster.file.gcps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=1,
                dtype=np.dtype(classes.label_dtype).name,
                nodata=classes.ignore_index,
                crs=raster.file.crs,
                transform=raster.file.transform,
                tiled=True,
                blockxsize=_BLOCK,
                blockysize=_BLOCK,
                compress="deflate",
                bigtiff="if_safer",
            ) as target:
                if points:
                    target.gcps = (points, points_crs)
                if classes.label_dtype is np.uint8:
                    colors = classes.colors.tolist()
                    target.write_colormap(1, {i: (*color, 255) for i, color in enumerate(colors)})
                target.update_tags(**{f"class_{i}": name for i, name in enumerate(classes.names)})
                yield target
        except rasterio.errors.RasterioError as error:
            reason = (str(error).splitlines() or ["unknown"])[0]
            raise UserError(f"the labels of {raster.path} cannot be written: {reason}") from None


def _in_blocks(
    bands: Iterator[tuple[slice, UInt[ndarray, "rows width"]]],
) -> Iterator[tuple[int, UInt[ndarray, "rows width"]]]:
    """Yield bands of whole blocks and their first row: a compressed block is best written once."""
    top, waiting = 0, None
    for _, labels in bands:
        waiting = labels if waiting is None else np.concatenate([waiting, labels])
        num_rows = len(waiting) // _BLOCK * _BLOCK
        if num_rows:
            yield top, waiting[:num_rows]
            top, waiting = top + num_rows, waiting[num_rows:]
    if waiting is not None and len(waiting):
        yield top, waiting


def _at_full_size(predictor: Predictor) -> Predictor:
    """Return the same model, through windows over the pixels as they are."""
    protocol, encoder = predictor.protocol, predictor.model.spec.encoder
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
