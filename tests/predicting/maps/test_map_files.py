"""`predict` on GeoTIFFs: rasters and polygons, read with rasterio, pyogrio and shapely."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.data.maps.map_bands import MapBands
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.predicting.maps.map_outputs import MapOutputs
from segmenter.predicting.rasters import label_raster
from tests.helpers.command_line import run
from tests.helpers.models import decided, make_spec, one_class_model

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")
pyogrio = pytest.importorskip("pyogrio", reason="needs pyogrio, of the extra geo")
shapely = pytest.importorskip("shapely", reason="needs shapely, of the extra geo")
from rasterio.windows import Window  # noqa: E402

TRANSFORM = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
SLIDE = EvaluationProtocol(window=64, stride=48)
ALL = ("label", "confidence", "probabilities", "gpkg", "geojson")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(decided(Segmenter(make_spec(depth=1))), protocol=SLIDE)


def write_map(path: Path, crs: str | None = "EPSG:32633", transform=TRANSFORM) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (3, 15, 18), np.uint8).repeat(20, axis=1).repeat(20, axis=2)
    pixels[:, :40, 100:] = 0
    profile = {"height": 300, "width": 360, "count": 3, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as file:
        file.write(pixels)
    return path


def label(predictor: Predictor, path: Path, out: Path, **outputs: object) -> Path:
    result = label_raster(predictor, path, OutputFolder(out), "map", MapOutputs(**outputs))
    assert result.problem is None
    assert all(each.is_file() for each in result.outputs)
    return out


def read_raster(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def read_vectors(path: Path):
    info, _, geometry, columns = pyogrio.raw.read(path)
    polygons = shapely.from_wkb(geometry)
    return info, polygons, dict(zip(info["fields"], columns, strict=True))


def test_areas_of_polygons_are_those_of_the_raster(predictor: Predictor, tmp_path: Path) -> None:
    out = label(predictor, write_map(tmp_path / "a.tif"), tmp_path / "out", save=ALL)
    labels = read_raster(out / "map_label.tif")[0]
    info, polygons, columns = read_vectors(out / "map.gpkg")
    assert info["crs"] == "EPSG:32633"
    assert pyogrio.list_layers(out / "map.gpkg").tolist() == [["map", "Polygon"]]
    np.testing.assert_allclose(shapely.area(polygons), columns["area_m2"])
    for index in range(3):
        area = columns["area_m2"][columns["class_id"] == index].sum()
        assert area == pytest.approx((labels == index).sum() * 0.25)
    assert set(columns["class"]) <= {"class-0", "class-1", "class-2"}
    assert shapely.coverage_is_valid(polygons)


def test_polygons_lie_where_the_labels_lie(predictor: Predictor, tmp_path: Path) -> None:
    from rasterio.features import rasterize

    out = label(predictor, write_map(tmp_path / "a.tif"), tmp_path / "out", save=("label", "gpkg"))
    _, polygons, columns = read_vectors(out / "map.gpkg")
    shapes = zip(polygons, columns["class_id"].tolist(), strict=True)
    painted = rasterize(shapes, (300, 360), fill=255, transform=TRANSFORM, dtype="uint8")
    np.testing.assert_array_equal(painted, read_raster(out / "map_label.tif")[0])


@pytest.mark.parametrize("threshold", [None, 0.999999])
def test_a_background_has_no_polygons(tmp_path: Path, threshold: float | None) -> None:
    predictor = Predictor(one_class_model(), protocol=SLIDE, threshold=threshold)
    out = label(predictor, write_map(tmp_path / "a.tif"), tmp_path / "out", save=ALL)
    labels = read_raster(out / "map_label.tif")[0]
    _, polygons, columns = read_vectors(out / "map.gpkg")
    assert set(columns["class"]) == ({"blue"} if threshold is None else set())
    assert columns["area_m2"].sum() == pytest.approx((labels == 1).sum() * 0.25)
    content = json.loads((out / "map.geojson").read_text())
    assert len(content["features"]) == len(polygons)
    assert (labels == 0).any()


def test_geojson_is_in_degrees_and_equal_to_the_geopackage(
    predictor: Predictor, tmp_path: Path
) -> None:
    from rasterio.warp import transform

    out = label(predictor, write_map(tmp_path / "a.tif"), tmp_path / "out", save=ALL, tolerance=2.0)
    info, polygons, columns = read_vectors(out / "map.geojson")
    _, expected, of_package = read_vectors(out / "map.gpkg")
    assert info["crs"] in {"EPSG:4326", "OGC:CRS84"}
    assert columns["class"].tolist() == of_package["class"].tolist()
    np.testing.assert_allclose(columns["area_m2"], of_package["area_m2"], atol=1e-6)

    def project(points: np.ndarray) -> np.ndarray:
        return np.stack(transform("OGC:CRS84", "EPSG:32633", *points.T), axis=1)

    projected = shapely.transform(polygons, project)
    apart = shapely.area(shapely.symmetric_difference(projected, expected))
    assert (apart / shapely.length(expected)).max() < 0.001  # metres
    content = json.loads((out / "map.geojson").read_text())
    assert "crs" not in content  # RFC 7946
    assert {each["geometry"]["type"] for each in content["features"]} == {"Polygon"}
    rings = [each["geometry"]["coordinates"][0] for each in content["features"]]
    assert shapely.is_ccw(shapely.linearrings(rings[0]))


def test_confidence_of_a_polygon_is_the_mean_of_its_pixels(
    predictor: Predictor, tmp_path: Path
) -> None:
    from rasterio.features import geometry_mask

    out = label(predictor, write_map(tmp_path / "a.tif"), tmp_path / "out", save=ALL)
    confidence = read_raster(out / "map_confidence.tif")[0] / 250
    probabilities = read_raster(out / "map_probabilities.tif")
    _, polygons, columns = read_vectors(out / "map.gpkg")
    for polygon, expected in zip(polygons, columns["confidence"], strict=True):
        is_inside = geometry_mask([polygon], (300, 360), TRANSFORM, invert=True)
        assert confidence[is_inside].mean() == pytest.approx(expected)
    has_data = read_raster(out / "map_label.tif")[0] != 255
    np.testing.assert_allclose(
        probabilities.max(axis=0)[has_data] / 250, confidence[has_data], atol=1e-6
    )
    assert (probabilities[:, ~has_data] == 255).all()
    assert not has_data.all()


def test_rasters_of_shares_have_scale_and_names(predictor: Predictor, tmp_path: Path) -> None:
    path = write_map(tmp_path / "a.tif")
    with rasterio.open(path) as file:
        bands = MapBands(file, [1, 2, 3])
        pixels = np.moveaxis(bands.read(Window(0, 0, file.width, file.height)), 0, 2)
    out = label(predictor, path, tmp_path / "out", save=("probabilities",))
    assert {each.name for each in out.glob("[!.]*")} == {"map_probabilities.tif"}
    with rasterio.open(out / "map_probabilities.tif") as file:
        assert file.descriptions == ("class-0", "class-1", "class-2")
        assert file.scales == pytest.approx((0.004,) * 3)
        assert file.transform == TRANSFORM
        values = file.read()
    has_data = values[0] != 255
    expected = predictor.probabilities(pixels)
    assert np.abs(values / 250 - expected)[:, has_data].max() <= 0.0021


def test_cloud_optimised_rasters_hold_the_same_values(predictor: Predictor, tmp_path: Path) -> None:
    path = write_map(tmp_path / "a.tif")
    plain = label(predictor, path, tmp_path / "plain", save=ALL)
    cog = label(predictor, path, tmp_path / "cog", save=ALL, cog=True)
    for name in ("map_label.tif", "map_confidence.tif", "map_probabilities.tif"):
        with rasterio.open(plain / name) as expected, rasterio.open(cog / name) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert (file.crs, file.transform) == (expected.crs, expected.transform)
            assert (file.nodata, file.scales) == (expected.nodata, expected.scales)
            assert file.descriptions == expected.descriptions
            np.testing.assert_array_equal(file.read(), expected.read())
    with rasterio.open(cog / "map_label.tif") as file:
        assert file.tags()["class_1"] == "class-1"
        assert file.colormap(1)[1][:3] == tuple(predictor.classes.colors[1])


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("missing", [1, 400, 3000])
def test_a_map_that_the_disk_cannot_hold_is_not_written(
    predictor: Predictor, tmp_path: Path, missing: int, cog: bool
) -> None:
    resource = pytest.importorskip("resource", reason="this system limits no files")
    path, outputs = write_map(tmp_path / "a.tif"), MapOutputs(("probabilities",), cog=cog)
    whole = label_raster(predictor, path, OutputFolder(tmp_path / "whole"), "map", outputs)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        limit = whole.outputs[0].stat().st_size - missing
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most[1]))
        result = label_raster(predictor, path, OutputFolder(tmp_path / "full"), "map", outputs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert "cannot be written" in (result.problem or "")
    assert list((tmp_path / "full").iterdir()) == []


def test_the_fourth_class_is_not_taken_for_transparency(tmp_path: Path) -> None:
    predictor = Predictor(decided(Segmenter(make_spec(4, depth=1))), protocol=SLIDE)
    saved = label(predictor, write_map(tmp_path / "a.tif"), tmp_path, save=("probabilities",))
    with rasterio.open(saved / "map_probabilities.tif") as file:
        assert file.count == 4
        assert rasterio.enums.ColorInterp.alpha not in file.colorinterp


DEGREE = np.radians(1e-5) * 6_371_008.8
"""Metres of a hundred-thousandth of a degree, on a sphere."""


@pytest.mark.parametrize(
    ("crs", "pixel", "left", "top", "of_pixel"),
    [
        ("EPSG:4326", 1e-5, 15, 48, DEGREE**2 * np.cos(np.radians(48))),
        ("EPSG:4326", 1e-5, 179.9999, 0, DEGREE**2),  # across the antimeridian
        ("EPSG:3857", 1, 1_113_194, 6_446_275, np.cos(np.radians(50)) ** 2),
        ("EPSG:3995", 10, -500, 500, 106),  # at the pole
        ("EPSG:32633", 1e6, 0, 0, 1e12),  # coordinates that the system does not have
    ],
)
def test_areas_are_square_metres_on_the_ground(
    predictor: Predictor,
    tmp_path: Path,
    crs: str,
    pixel: float,
    left: float,
    top: float,
    of_pixel: float,
) -> None:
    path = write_map(tmp_path / "a.tif", crs, rasterio.Affine(pixel, 0, left, 0, -pixel, top))
    out = label(predictor, path, tmp_path / "out", save=("gpkg", "label"))
    info, _, columns = read_vectors(out / "map.gpkg")
    assert info["crs"] == crs
    labelled = (read_raster(out / "map_label.tif") != 255).sum()
    assert columns["area_m2"].sum() == pytest.approx(labelled * of_pixel, rel=6e-3)


def test_no_polygon_is_below_the_minimum_area(predictor: Predictor, tmp_path: Path) -> None:
    path = write_map(tmp_path / "a.tif")
    out = label(predictor, path, tmp_path / "out", save=("gpkg", "label"), min_area=300.0)
    _, _, columns = read_vectors(out / "map.gpkg")
    labelled = (read_raster(out / "map_label.tif") != 255).sum()
    assert columns["area_m2"].min() >= 300
    assert columns["area_m2"].sum() == pytest.approx(labelled * 0.25)


def test_polygons_need_a_coordinate_system(predictor: Predictor, tmp_path: Path) -> None:
    path = write_map(tmp_path / "a.tif", crs=None)
    folder = OutputFolder(tmp_path / "out")
    result = label_raster(predictor, path, folder, "map", MapOutputs(("label", "gpkg")))
    assert "has no coordinate reference system, which polygons need" in str(result.problem)
    assert list((tmp_path / "out").iterdir()) == []
    assert label_raster(predictor, path, folder, "map").problem is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_area": 5.0}, "--min-area concerns polygons; add gpkg or geojson"),
        ({"save": ("gpkg",), "tolerance": -1.0}, "--simplify must be 0 or more, got -1"),
        ({"save": ("gpkg",), "min_area": float("nan")}, "--min-area must be 0 or more"),
    ],
)
def test_wrong_numbers_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MapOutputs(**changes)


def test_the_command_writes_what_is_asked_for(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(predictor.model, tmp_path / "m.safetensors")
    path, out = write_map(tmp_path / "field.tif"), tmp_path / "out"
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    given = ("--model", tmp_path / "m.safetensors", "--out", out, "--runtime", "torch")
    flags = ("--cog", "--min-area", "10", "--simplify", "1.5")
    given = tuple(map(str, given))
    assert run("predict", str(path), *given, "--save", "geojson,gpkg,label", *flags) == 0
    names = {each.name for each in out.glob("[!.]*")}
    assert names == {"field_label.tif", "field.gpkg", "field.geojson"}
    for arguments, message in (
        (("--save", "overlay"), "names none of its files; add one of label, confidence"),
        (("--save", "gpkgs"), "did you mean 'gpkg'"),
        (("--min-area", "3"), "concerns polygons"),
        (("--save", "gpkg", "--parts", "2", "--simplify", "1"), "for maps; omit --parts"),
    ):
        assert run("predict", str(path), *given, *arguments) == 2
        assert message in capsys.readouterr().err
    for arguments, message in (
        (("--save", "gpkg"), "photo.png is not a map, and --save names files of maps alone"),
        (("--cog",), "photo.png is not a map; omit --cog"),
    ):
        assert run("predict", str(path), str(tmp_path / "photo.png"), *given, *arguments) == 2
        assert message in capsys.readouterr().err
