"""A GeoTIFF in, a GeoTIFF of labels at the same place out, by windows."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.data.decoding.decode import read_header
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.options import Compute, ImageOutput, PredictOptions, Sizes
from segmenter.predicting.maps.map_outputs import MapOutputs
from segmenter.predicting.rasters import is_raster, label_raster
from segmenter.predicting.run_prediction import run_prediction
from tests.helpers.band_images import make_values, spec_of
from tests.helpers.models import decided, make_band_spec, make_spec

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")
from rasterio.enums import ColorInterp  # noqa: E402

TRANSFORM = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
CRS = "EPSG:32633"
SLIDE = EvaluationProtocol(window=64, stride=48)
AXES = ("line", "samp", "lat", "long", "height")
PEAK_MEMORY = """
import re, sys
from dataclasses import replace
from pathlib import Path
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol
from segmenter.predicting import rasters
from segmenter.predicting.maps import regions
from segmenter.predicting.maps.map_outputs import MapOutputs

regions._STRIP_PIXELS = 1 << 20  # which a small map reaches
model, path, out = sys.argv[1:]
predictor = Predictor(model, runtime="torch", protocol=EvaluationProtocol(window=512, stride=512))
outputs = MapOutputs(("label", "confidence", "gpkg"))
result = rasters.label_raster(predictor, Path(path), OutputFolder(Path(out)), "map", outputs)
assert result.problem is None
# Not ru_maxrss, which begins with the memory of the process that started this one.
found = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(found[1]) * 1024)
"""


def make_predictor(num_channels: int = 3, protocol: EvaluationProtocol = SLIDE) -> Predictor:
    model = decided(Segmenter(make_spec(depth=1, in_channels=num_channels)))
    return Predictor(model, protocol=protocol)


def make_pixels(height: int, width: int, num_channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, 256, (-(-height // 20), -(-width // 20), num_channels), np.uint8)
    return coarse.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]


def write_raster(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    height, width, count = pixels.shape
    given = {"crs": CRS, "transform": TRANSFORM, "tiled": True, "blockxsize": 256} | profile
    given |= {"height": height, "width": width, "count": count, "blockysize": 256}
    dtype = pixels.dtype.name
    with rasterio.open(path, "w", driver="GTiff", dtype=dtype, compress="deflate", **given) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    return path


def label(predictor: Predictor, path: Path, out: Path) -> np.ndarray:
    result = label_raster(predictor, path, OutputFolder(out), "map")
    assert result.problem is None
    assert result.outputs == (out / "map_label.tif",)
    with rasterio.open(out / "map_label.tif") as file:
        return file.read(1)


@pytest.mark.parametrize("size", [(700, 300), (130, 1100), (30, 20), (1, 1)])
@pytest.mark.parametrize("num_channels", [1, 3, 5])
def test_labels_are_those_of_the_pixels_in_memory(tmp_path: Path, size, num_channels) -> None:
    predictor, pixels = make_predictor(num_channels), make_pixels(*size, num_channels)
    labels = label(predictor, write_raster(tmp_path / "map.tif", pixels), tmp_path / "out")
    np.testing.assert_array_equal(labels, predictor(pixels))


def test_the_label_map_lies_where_the_raster_lies(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "map.tif", make_pixels(100, 90))
    label(make_predictor(), path, tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "map_label.tif") as file:
        assert file.crs == rasterio.crs.CRS.from_string(CRS)
        assert file.transform == TRANSFORM
        assert file.nodata == 255
        assert file.block_shapes == [(512, 512)]
        assert file.colormap(1)[1][:3] == tuple(make_predictor().classes.colors[1])
        assert file.tags()["class_1"] == "class-1"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("cog", [False, True])
def test_a_raster_with_rpcs_gives_labels_with_rpcs(tmp_path: Path, cog: bool) -> None:
    numbers = {f"{each}_{what}": 2.0 for each in AXES for what in ("off", "scale")}
    numbers |= {f"{each}_{what}_coeff": [1.0] * 20 for each in AXES[:2] for what in ("num", "den")}
    rpcs = rasterio.rpc.RPC(err_bias=0.5, err_rand=0.1, **numbers)
    plain = {"crs": None, "transform": None}
    path = write_raster(tmp_path / "map.tif", make_pixels(100, 90), **plain)
    with rasterio.open(path, "r+") as file:
        file.rpcs = rpcs
    assert is_raster(path)
    assert read_header(path).is_map
    outputs = MapOutputs(("label", "confidence"), cog=cog)
    result = label_raster(make_predictor(), path, OutputFolder(tmp_path / "out"), "map", outputs)
    assert result.problem is None
    for each in result.outputs:
        with rasterio.open(each) as file:
            assert file.rpcs == rpcs


def test_pixels_are_not_resized_whatever_the_protocol_says(tmp_path: Path) -> None:
    pixels = make_pixels(100, 90)
    path = write_raster(tmp_path / "map.tif", pixels)
    predictor = make_predictor()
    expected = predictor(pixels)
    predictor.protocol = SLIDE.model_copy(update={"short_side": 40, "scales": (0.5, 1.0)})
    np.testing.assert_array_equal(label(predictor, path, tmp_path / "out"), expected)
    assert predictor.protocol.short_side == 40


def test_no_data_stays_no_data(tmp_path: Path) -> None:
    pixels = make_pixels(100, 90)
    pixels[:40, 50:] = 0
    labels = label(
        make_predictor(), write_raster(tmp_path / "map.tif", pixels, nodata=0), tmp_path / "out"
    )
    assert (labels[:40, 50:] == 255).all()
    assert (labels[40:] < 3).all()


def write_rgba(path: Path, alpha: np.ndarray) -> np.ndarray:
    """A map of red, green, blue and transparency; returns its pixels."""
    pixels = np.dstack([make_pixels(*alpha.shape), alpha])
    write_raster(path, pixels, photometric="RGB", alpha="unspecified")
    names = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = names
    return pixels


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bands", [None, (3, 2, 1), (2,)])
def test_what_is_transparent_has_no_label(tmp_path: Path, channels: int, bands) -> None:
    alpha = np.full((100, 90), 255, np.uint8)
    alpha[60:] = 0
    pixels = write_rgba(tmp_path / "map.tif", alpha)[:, :, :channels]
    predictor = make_predictor(channels)
    if bands is not None:
        model = Segmenter(make_band_spec(spec_of(pixels, bands)))
        predictor = Predictor(decided(model), protocol=SLIDE)
    labels = label(predictor, tmp_path / "map.tif", tmp_path / "out")
    assert (labels[60:] == 255).all()
    pixels[60:] = np.quantile(pixels[:60], 0.5, axis=(0, 1), method="lower")
    seen = pixels if bands is None else pixels[:, :, [band - 1 for band in bands]]
    np.testing.assert_array_equal(labels[:60], predictor(seen)[:60])


def test_what_is_not_a_number_has_no_label(tmp_path: Path) -> None:
    values = make_values(96, 80, dtype="float32")
    values[10:20, 5, 2], values[30, 40:, 0] = np.nan, np.inf
    predictor = Predictor(decided(Segmenter(make_band_spec(spec_of(values)))), protocol=SLIDE)
    labels = label(predictor, write_raster(tmp_path / "map.tif", values), tmp_path / "out")
    np.testing.assert_array_equal(labels == 255, ~np.isfinite(values).all(axis=2))


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (make_pixels(50, 40, 4), "has 4 bands, this model takes 3"),
        (make_pixels(50, 40).astype(np.uint16), "holds uint16; models take bytes"),
    ],
)
def test_other_bands_and_numbers_are_refused(tmp_path: Path, pixels, reason) -> None:
    path = write_raster(tmp_path / "map.tif", pixels, alpha="unspecified")
    result = label_raster(make_predictor(), path, OutputFolder(tmp_path / "out"), "map")
    assert reason in str(result.problem)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_broken_raster_leaves_nothing(tmp_path: Path, share) -> None:
    rng = np.random.default_rng(0)
    path = write_raster(tmp_path / "map.tif", rng.integers(0, 256, (900, 700, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    result = label_raster(make_predictor(), path, OutputFolder(tmp_path / "out"), "map")
    assert "map.tif is cut, damaged or not a GeoTIFF" in str(result.problem)
    assert result.outputs == ()
    assert not [file for file in (tmp_path / "out").glob("*") if file.is_file()]


def test_a_map_is_told_from_a_image(tmp_path: Path) -> None:
    Image.fromarray(make_pixels(20, 30)).save(tmp_path / "photo.tif")
    Image.fromarray(make_pixels(20, 30)).save(tmp_path / "photo.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\0nothing")
    for name in ("photo.tif", "photo.png", "broken.tif", "gone.tif"):
        assert not is_raster(tmp_path / name)
    assert is_raster(write_raster(tmp_path / "map.tif", make_pixels(20, 30)))


def test_bands_without_a_georeference_are_labelled_too(tmp_path: Path) -> None:
    plain = {"crs": None, "transform": None}
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = write_raster(tmp_path / "bands.TIF", make_pixels(20, 30, 7), **plain)
    assert is_raster(path)
    result = label_raster(make_predictor(7), path, OutputFolder(tmp_path / "out"), "bands")
    assert result.problem is None


@pytest.mark.parametrize(
    ("dtype", "bands"), [("uint16", (4, 1)), ("float32", (1,)), ("int16", (2, 3, 1))]
)
def test_a_map_of_other_bands_is_labelled_as_its_values_are(
    tmp_path: Path, dtype: str, bands: tuple[int, ...]
) -> None:
    values = make_values(100, 130, dtype=dtype)
    image = spec_of(values, bands).with_range([0] * len(bands), [values.max()] * len(bands))
    predictor = Predictor(decided(Segmenter(make_band_spec(image))), protocol=SLIDE)
    labels = label(predictor, write_raster(tmp_path / "map.tif", values), tmp_path / "out")
    channels = values[:, :, [band - 1 for band in bands]]
    np.testing.assert_array_equal(labels, predictor(channels))


def test_predict_labels_maps_beside_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(make_predictor().model, tmp_path / "model.safetensors")
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    write_raster(inputs / "map.tif", make_pixels(100, 90))
    Image.fromarray(make_pixels(20, 30)).save(inputs / "photo.png")
    output = ImageOutput(out=tmp_path / "out")
    options = PredictOptions(output=output, compute=Compute(runtime="torch", precision="float32"))
    given = ([str(inputs)], str(tmp_path / "model.safetensors"))
    assert run_prediction(*given, options) == 0
    written = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert written == {
        "map_label.tif",
        "photo_label.png",
        "photo_overlay.jpg",
    }
    assert "[2/2]" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"map\.tif is a map, and a gallery shows images"):
        run_prediction(*given, replace(options, output=replace(output, gallery=True)))
    for sizes, message in (
        (Sizes(short_side=64), "whose pixels are not resized; omit --short-side"),
        (Sizes(scales=(1.0, 2.0)), "omit --scales"),
        (Sizes(window=0), "labelled in windows; give --window a size"),
    ):
        with pytest.raises(UserError, match=message):
            run_prediction(*given, replace(options, sizes=sizes))
    run_prediction(*given, options)  # ours, so it may be replaced
    (tmp_path / "out" / "map_label.tif").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"map_label\.tif exists"):
        run_prediction(*given, options)


@pytest.mark.slow
def test_16_megapixels_by_windows(tmp_path: Path) -> None:
    pixels = np.tile(make_pixels(500, 400), (8, 10, 1))
    path = write_raster(tmp_path / "map.tif", pixels)
    predictor = make_predictor(protocol=EvaluationProtocol(window=400, stride=400))
    labels = label(predictor, path, tmp_path / "out")
    assert labels.shape == (4000, 4000)
    np.testing.assert_array_equal(labels[1000:2000], predictor(pixels)[1000:2000])


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "times"), [(1000, 2000, (4, 16)), (512, 9000, (2, 9))])
def test_memory_does_not_grow_with_the_height_of_a_raster(
    tmp_path: Path, height: int, width: int, times: tuple[int, int]
) -> None:
    """20000 x 20000 pixels: `python benchmarks/maps.py --folder FOLDER`."""
    # What is freed goes back, for gaps between what is in use grow slowly.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "262144"}
    tile = cv2.resize(make_pixels(height // 8, width // 8), (width, height))
    tile[-8:] = 0  # no data: no region goes on, for the outline of one is in memory as a whole
    model = tmp_path / "model.safetensors"
    save(make_predictor().model, model)
    peaks = []
    for number in times:
        pixels = np.tile(tile, (number, 1, 1))
        path = write_raster(tmp_path / f"{number}.tif", pixels, nodata=0)
        command = [sys.executable, "-c", PEAK_MEMORY, model, path, tmp_path / str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks.append(int(done.stdout))
    labels_and_confidence = 2 * height * width
    grown = (times[1] - times[0]) * (tile.nbytes + labels_and_confidence)
    assert peaks[1] - peaks[0] < grown / 5
