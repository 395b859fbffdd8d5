"""Pixels of maps without data are filled, equally for training and prediction."""

from pathlib import Path

import numpy as np
import pytest

from segmenter.data.decoding.decode import decode_image
from segmenter.data.decoding.set_bands import find_image_spec
from segmenter.data.maps.map_bands import MapBands
from segmenter.data.maps.prepare_maps import convert_maps
from segmenter.options import MapWindows
from segmenter.predicting.rasters import _Raster
from tests.helpers.band_images import spec_of
from tests.helpers.maps import TILE, make_bands, make_labels, tiles, write
from tests.helpers.models import make_band_spec

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")
from rasterio.windows import Window  # noqa: E402


def test_pixels_without_data_have_the_median_of_each_band(tmp_path: Path) -> None:
    values = make_bands(3)
    values[:, 100:180, 40:300] = 0
    values[0, 5, 5] = 0  # one band alone may be 0
    with rasterio.open(write(tmp_path / "a.tif", values, nodata=0)) as file:
        bands = MapBands(file, [3, 1])
        window = Window(30, 90, 100, 60)
        found, missing = bands.read(window), bands.is_missing(window)
        assert not bands.is_missing(Window(0, 0, 10, 10)).any()
    chosen = values[[2, 0]]
    medians = np.median(chosen[:, (values != 0).all(axis=0)], axis=1)
    np.testing.assert_array_equal(missing, (values[:, 90:150, 30:130] == 0).all(axis=0))
    np.testing.assert_array_equal(found[:, ~missing], chosen[:, 90:150, 30:130][:, ~missing])
    assert (np.abs(found[:, missing] - medians[:, None]) <= 4).all()


def test_a_map_without_data_is_filled_with_zeros(tmp_path: Path) -> None:
    with rasterio.open(write(tmp_path / "a.tif", make_bands(2) * 0 + 9, nodata=9)) as file:
        assert not MapBands(file, [1, 2]).read(Window(0, 0, 30, 20)).any()


def test_rows_that_are_mostly_without_data_do_not_move_the_medians(tmp_path: Path) -> None:
    values = np.full((1, 4096, 8), 7, np.uint16)
    values[:, :4000] = 0
    with rasterio.open(write(tmp_path / "a.tif", values, nodata=0, blockysize=1)) as file:
        assert MapBands(file, [1]).medians.tolist() == [7]


@pytest.mark.parametrize(
    ("dtype", "count", "nodata"),
    [
        ("uint8", 3, 0),
        ("uint16", 4, 0),
        ("float32", 2, -9999),
        ("float32", 2, -3.4028234663852886e38),
        ("float32", 2, np.nan),
    ],
)
def test_training_reads_own_maps_as_prediction_does(
    tmp_path: Path, dtype: str, count: int, nodata: float
) -> None:
    values = make_bands(count, dtype)[:, :48, :64]
    values[:, 10:30, 40:] = nodata
    values[0, 5, 5] = 0  # one band alone
    path = write(tmp_path / "a.tif", values, nodata=nodata)
    image = spec_of(np.moveaxis(values, 0, 2), (2, 1)) if count != 3 else None
    with rasterio.open(path) as file:
        bands = image.bands if image else (1, 2, 3)
        seen = MapBands(file, bands).read(Window(0, 0, 64, 48))
    assert seen[:, 10:30, 40:].min() > 0
    assert np.array_equal(decode_image(path, image=image), np.moveaxis(seen, 0, 2))


@pytest.mark.filterwarnings("ignore:The dataset's nodata")  # of rasterio: it is masked by alone
@pytest.mark.parametrize("nodata", [None, 0])
@pytest.mark.parametrize("alpha", ["yes", "no"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [None, (1, 2, 3)])
def test_a_fourth_band_tells_training_what_it_tells_prediction(
    tmp_path: Path, dtype: str, alpha: str, nodata: int | None, bands: tuple[int, ...] | None
) -> None:
    values = make_bands(4, dtype)[:, :48, :64]
    values[3] = 255
    values[:, 10:30, 40:] = 0
    values[:3, :5] = 0  # black, not without data
    profile = {"photometric": "rgb", "alpha": alpha, "nodata": nodata}
    path = write(tmp_path / "a.tif", values, **profile)
    image = find_image_spec([path], bands)
    with rasterio.open(path) as file:
        seen = MapBands(file, image.bands if image else (1, 2, 3)).read(Window(0, 0, 64, 48))
    is_filled = alpha == "yes" or nodata == 0
    assert (seen[:3, 10:30, 40:].min() > 0) == is_filled
    assert np.array_equal(decode_image(path, image=image), np.moveaxis(seen, 0, 2))


@pytest.mark.parametrize("count", [1, 3])
def test_maps_of_16_bits_keep_their_values_in_training_as_in_prediction(
    tmp_path: Path, count: int, capfd
) -> None:
    colors = "rgb" if count == 3 else "minisblack"
    path = write(tmp_path / "a.tif", make_bands(count), photometric=colors)
    image = find_image_spec([path], None)
    assert image is not None
    assert image.file_type == (count, "uint16")
    decode_image(path)  # as RGB, which a user may still ask for: without a word of OpenCV
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("order", [1, -1])
def test_a_map_of_16_bits_among_images_of_8_is_read_as_they_are(tmp_path: Path, order: int) -> None:
    deep = write(tmp_path / "a.tif", make_bands(3), photometric="rgb")
    plain = write(tmp_path / "b.tif", make_bands(3, "uint8"), photometric="rgb")
    assert find_image_spec([deep, plain][::order], None) is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_training_and_prediction_see_the_same_values(tmp_path: Path, dtype: str) -> None:
    values = make_bands(4, dtype)
    values[:, :70, 50:] = 0
    if dtype == "float32":
        values[1, 200, 200] = np.nan
    image = write(tmp_path / "a.tif", values, nodata=0, photometric="minisblack")
    mask = write(tmp_path / "m.tif", make_labels()[None])
    convert_maps(image, tmp_path / "out", MapWindows(labels=mask, tile=TILE, block=1))
    spec = make_band_spec(spec_of(np.moveaxis(values, 0, 2)))
    with _Raster(image, spec) as raster:
        whole = slice(0, values.shape[1])
        seen, missing = raster[whole], raster.is_missing(whole)
        inverse = ~raster.file.transform
    for sample, bounds, _ in (each for split in tiles(tmp_path / "out").values() for each in split):
        column, row = (round(each) for each in inverse @ (bounds.left, bounds.top))
        height, width = sample.labels.shape
        where = np.s_[row : row + height, column : column + width]
        np.testing.assert_array_equal(sample.image, seen[where])
        np.testing.assert_array_equal(sample.labels == 255, missing[where])
