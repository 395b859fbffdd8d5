"""`segmenter prepare maps`: GeoTIFFs and labels become tiles, split by area."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.folder import open_folder
from segmenter.data.maps.prepare_maps import convert_maps
from segmenter.data.maps.windows import MapWindow, choose_val_blocks
from segmenter.data.masks.inspection import gather_sizes, inspect_header, inspect_mask
from segmenter.errors import UserError
from segmenter.options import MapWindows
from tests.helpers.band_images import tiff_bytes
from tests.helpers.command_line import run
from tests.helpers.maps import (
    CRS,
    SIDE,
    TILE,
    TRANSFORM,
    make_bands,
    make_labels,
    tiles,
    write,
)

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")
pyogrio = pytest.importorskip("pyogrio", reason="needs pyogrio, of the extra geo")
shapely = pytest.importorskip("shapely", reason="needs shapely, of the extra geo")

CORNERS = ((0, SIDE), (SIDE // 2, SIDE), (SIDE // 2, 0), (0, 0), (0, SIDE))
"""Of the left half of the map, in pixels."""
SMALL = MapWindows(tile=TILE, block=1)


def on_map(left: int, top: int, right: int, bottom: int):
    """The rectangle of these pixels on the map."""
    return shapely.box(*(TRANSFORM @ (left, top)), *(TRANSFORM @ (right, bottom)))


def write_vectors(path: Path, crs: str = CRS, names=("field", "water", "wood")) -> Path:
    """A square of 16 pixels for each, with its class; `crs` is what they are projected to."""
    from rasterio.warp import transform

    labels = make_labels()[::16, ::16]
    shapes = [
        shapely.box(
            *(TRANSFORM @ (16 * column, 16 * row)), *(TRANSFORM @ (16 * column + 16, 16 * row + 16))
        )
        for row, column in np.ndindex(labels.shape)
    ]
    if crs != CRS:
        shapes = shapely.transform(
            shapes, lambda points: np.stack(transform(CRS, crs, *points.T), axis=1)
        )
    drivers = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".shp": "ESRI Shapefile"}
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes)),
        [np.array([names[label] for label in labels.ravel()], object), np.arange(labels.size)],
        ["kind", "number"],
        driver=drivers[path.suffix],
        geometry_type="Polygon",
        crs=crs,
    )
    return path


def all_tiles(out: Path) -> list:
    return [each for split in tiles(out).values() for each in split]


def expected_labels(bounds) -> np.ndarray:
    column, row = ~TRANSFORM @ (bounds.left, bounds.top)
    right, bottom = ~TRANSFORM @ (bounds.right, bounds.bottom)
    return make_labels()[round(row) : round(bottom), round(column) : round(right)]


@pytest.mark.parametrize(
    ("suffix", "crs"),
    [(".gpkg", CRS), (".gpkg", "EPSG:3035"), (".geojson", "EPSG:4326"), (".shp", "EPSG:32632")],
)
def test_vectors_are_brought_onto_the_pixels(tmp_path: Path, suffix: str, crs: str) -> None:
    (tmp_path / "maps").mkdir()
    image = write(tmp_path / "maps" / "a.tif", make_bands())
    vectors = write_vectors(tmp_path / f"labels{suffix}", crs)
    options = MapWindows(labels=vectors, field="kind", tile=TILE, block=1)
    made = convert_maps(image.parent, tmp_path / "out", options)
    assert made.classes == ("field", "water", "wood")
    found = tiles(tmp_path / "out")
    assert set(found) == {"train", "val"}
    assert sum(map(len, found.values())) == (SIDE // TILE) ** 2
    for sample, bounds, crs_of_tile in (each for split in found.values() for each in split):
        assert crs_of_tile == rasterio.crs.CRS.from_string(CRS)
        assert sample.image.shape == (TILE, TILE, 4)
        assert sample.image.dtype == np.uint16
        np.testing.assert_array_equal(sample.labels, expected_labels(bounds))


@pytest.mark.parametrize("shift", [0, 37])
def test_no_tile_of_one_split_overlaps_one_of_the_other(tmp_path: Path, shift: int) -> None:
    images, labels = tmp_path / "maps" / "images", tmp_path / "maps" / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for name, moved in (("a", 0), ("b", shift)):
        write(images / f"{name}.tif", make_bands(), moved)
        write(labels / f"{name}_label.tif", make_labels()[None], moved)
    options = MapWindows(tile=TILE, block=2)
    made = convert_maps(tmp_path / "maps", tmp_path / "out", options)
    found = tiles(tmp_path / "out")
    boxes = {
        split: np.array([shapely.box(*bounds) for _, bounds, _ in each])
        for split, each in found.items()
    }
    assert min(map(len, boxes.values())) > 0
    apart = shapely.intersection(boxes["train"][:, None], boxes["val"])
    assert shapely.area(apart).max() < 1e-6
    assert made.splits == {split: len(each) for split, each in boxes.items()}


def test_tiles_keep_values_as_stored_and_the_tags_of_their_bands(tmp_path: Path) -> None:
    tags = {
        "scales": (0.0001, 0.0002),
        "offsets": (-0.1, 0.0),
        "units": ("reflectance", "reflectance"),
        "descriptions": ("red", "near infrared"),
    }
    image, labels = tmp_path / "a.tif", tmp_path / "a_mask.tif"
    write(image, make_bands(2))
    write(labels, make_labels()[None])
    with rasterio.open(image, "r+") as file:
        for name, values in tags.items():
            setattr(file, name, values)
    options = MapWindows(labels=labels, tile=TILE, block=1)
    convert_maps(image, tmp_path / "out", options)
    tile = sorted((tmp_path / "out/images").rglob("*_0_64.tif"))[0]
    with rasterio.open(tile) as file:
        assert {name: getattr(file, name) for name in tags} == tags
        np.testing.assert_array_equal(file.read(), make_bands(2)[:, :TILE, TILE : 2 * TILE])
    write(tmp_path / "b.tif", make_bands(2))
    (tmp_path / "maps.txt").write_text("a.tif a_mask.tif\nb.tif a_mask.tif\n")
    with pytest.raises(
        UserError, match=r"b.tif has 2 bands of uint16, but .*a.tif has .*0.0001 -0"
    ):
        convert_maps(tmp_path / "maps.txt", tmp_path / "other", SMALL)


def test_mask_rasters_of_another_grid_are_reprojected(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands())
    labels = make_labels()[::4, ::4]
    mask = write(
        tmp_path / "m.tif",
        labels[None],
        nodata=2,
        transform=TRANSFORM @ rasterio.Affine.scale(4),
    )
    convert_maps(image, tmp_path / "out", MapWindows(labels=mask, tile=TILE, block=1))
    for sample, bounds, _ in all_tiles(tmp_path / "out"):
        expected = expected_labels(bounds)
        np.testing.assert_array_equal(sample.labels, np.where(expected == 2, 255, expected))


def test_no_data_and_outside_are_ignored(tmp_path: Path) -> None:
    bands = make_bands(2, "float32")
    bands[:, :70] = -9999
    bands[0, 100, 100] = np.nan
    image = write(tmp_path / "a.tif", bands, nodata=-9999)
    mask = write(tmp_path / "m.tif", make_labels()[None, :, : SIDE // 2])
    convert_maps(image, tmp_path / "out", MapWindows(labels=mask, tile=TILE, block=1))
    found = all_tiles(tmp_path / "out")
    for sample, bounds, _ in found:
        column, row = (round(each) for each in ~TRANSFORM @ (bounds.left, bounds.top))
        rows, columns = np.mgrid[:TILE, :TILE] + np.array([row, column])[:, None, None]
        is_open = (rows < 70) | (columns >= SIDE // 2) | ((rows == 100) & (columns == 100))
        np.testing.assert_array_equal(sample.labels == 255, is_open)
        assert np.isfinite(sample.image).all()
        assert sample.image.min() > 0
    assert len(found) == 4 * 3


def test_smaller_polygons_lie_on_top_and_open_pixels_are_asked_about(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands(3, "uint8"))
    shapes = [on_map(*corners) for corners in ((20, 20, 30, 30), (0, 0, 256, 320))]
    names = [np.array(["small", "large"], object)]
    vectors = tmp_path / "v.gpkg"
    given = {"driver": "GPKG", "geometry_type": "Polygon", "crs": CRS}
    pyogrio.raw.write(vectors, shapely.to_wkb(np.array(shapes)), names, ["kind"], **given)
    options = MapWindows(labels=vectors, tile=TILE, block=1)
    with pytest.raises(UserError, match=r"leaves pixels of .*a\.tif without a shape; say what"):
        convert_maps(image, tmp_path / "out", options)
    made = convert_maps(image, tmp_path / "out", options, unlabelled="ignore")
    assert made.classes == ("large", "small")
    found = all_tiles(tmp_path / "out")
    assert len(found) == 20  # those right of the large one have no label
    assert sum((sample.labels == 1).sum() for sample, _, _ in found) == 100
    made = convert_maps(image, tmp_path / "all", options, unlabelled="background")
    assert made.classes == ("background", "large", "small")
    assert sum(made.splits.values()) == 25


def test_the_most_tiles_are_spread_over_the_map(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands())
    mask = write(tmp_path / "m.tif", make_labels()[None])
    options = MapWindows(labels=mask, tile=32, block=2, max_tiles=25)
    made = convert_maps(image, tmp_path / "out", options)
    assert sum(made.splits.values()) == 25
    lefts = [bounds.left for _, bounds, _ in all_tiles(tmp_path / "out")]
    assert max(lefts) - min(lefts) > SIDE  # metres: more than half of the map


def test_the_file_of_classes_gives_order_and_colours(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands())
    vectors = write_vectors(tmp_path / "v.gpkg")
    classes = tmp_path / "classes.yaml"
    entries = ", ".join(
        f"{{name: {name}, values: [{value}]}}"
        for value, name in enumerate(("wood", "water", "field"))
    )
    classes.write_text(f"classes: [{entries}]")
    options = MapWindows(labels=vectors, field="kind", tile=TILE, block=1, classes=classes)
    made = convert_maps(image, tmp_path / "out", options)
    assert made.classes == ("wood", "water", "field")
    for sample, bounds, _ in all_tiles(tmp_path / "out"):
        np.testing.assert_array_equal(sample.labels, 2 - expected_labels(bounds))


def test_training_knows_that_tiles_are_maps(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands())
    mask = write(tmp_path / "m.tif", make_labels()[None])
    convert_maps(image, tmp_path / "out", MapWindows(labels=mask, tile=TILE, block=1))
    data = open_folder(tmp_path / "out")
    items = [item for split in data.splits.values() for item in split]
    masks = [inspect_mask(item, data.classes, inspect_header(item)[0], None) for item in items]
    assert gather_sizes(masks, 3).are_maps
    items[0].image.write_bytes(tiff_bytes(np.zeros((TILE, TILE, 4), np.uint16)))
    masks[0] = inspect_mask(items[0], data.classes, inspect_header(items[0])[0], None)
    assert not gather_sizes(masks, 3).are_maps


def test_a_band_that_counts_as_transparency_is_reported(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands(4, "uint8"))  # which GDAL takes for RGB and alpha
    mask = write(tmp_path / "m.tif", make_labels()[None])
    made = convert_maps(image, tmp_path / "out", MapWindows(labels=mask, tile=TILE, block=1))
    assert "gdal_edit -colorinterp_4 undefined" in made.remarks[0]
    assert all(sample.image.shape[2] == 3 for sample, _, _ in all_tiles(tmp_path / "out"))
    image = write(tmp_path / "a.tif", make_bands(4, "uint8"), photometric="minisblack")
    made = convert_maps(image, tmp_path / "4", MapWindows(labels=mask, tile=TILE, block=1))
    assert not made.remarks
    assert all(sample.image.shape[2] == 4 for sample, _, _ in all_tiles(tmp_path / "4"))
    with rasterio.open(next((tmp_path / "4").rglob("*.tif"))) as tile:
        assert tile.colorinterp[3].name == "undefined"


def refusal(tmp_path: Path, **changes: object) -> str:
    """What is wrong with the maps in `tmp_path`; nothing is written."""
    options = MapWindows(**{"tile": TILE, "block": 1, "field": "kind"} | changes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        convert_maps(tmp_path / "maps", tmp_path / "out", options)
    assert sorted(tmp_path.rglob("*")) == before
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    image = write(tmp_path / "maps" / "a.tif", make_bands())
    vectors = write_vectors(tmp_path / "v.gpkg")
    assert "are missing: give a file or folder with --labels" in refusal(tmp_path)
    assert "no such file or folder" in refusal(tmp_path, labels=tmp_path / "gone.gpkg")
    message = refusal(tmp_path, labels=vectors, field="kinds")
    assert "v.gpkg has no field 'kinds', did you mean 'kind'" in message or "no field" in message
    assert "it has: kind, number" in refusal(tmp_path, labels=vectors, field=None)
    (tmp_path / "c.yaml").write_text("classes: [{name: wood, values: [1]}]")
    message = refusal(tmp_path, labels=vectors, classes=tmp_path / "c.yaml")
    assert "field 'kind' has" in message
    assert "is not a class of the file of classes" in message
    empty = write_vectors(tmp_path / "empty.gpkg", names=("field", "", "wood"))
    assert "field 'kind' is empty; give it a class" in refusal(tmp_path, labels=empty)
    far = write(tmp_path / "far.tif", make_labels()[None], 5000)
    message = refusal(tmp_path, labels=far, field=None)
    assert "far.tif and" in message
    assert "do not overlap" in message
    assert "--field names a field of vector files" in refusal(tmp_path, labels=far)
    (tmp_path / "cut.gpkg").write_bytes(vectors.read_bytes()[:900])
    assert "is cut, damaged or not a vector file" in refusal(tmp_path, labels=tmp_path / "cut.gpkg")
    assert "all labels lie in one area" in refusal(tmp_path, labels=vectors, block=9)
    assert "--tile is from 32 to 4096 pixels, got 3" in refusal(tmp_path, labels=vectors, tile=3)
    other = write(tmp_path / "maps" / "b.tif", make_bands(3))
    assert "b.tif has 3 bands of uint16, but" in refusal(tmp_path, labels=vectors)
    other.unlink()
    write(image, make_bands(), crs=None)
    assert "a.tif has no coordinate reference system; assign one" in refusal(
        tmp_path, labels=vectors
    )
    image.write_bytes(image.read_bytes()[:300])
    assert "is cut, damaged or not a GeoTIFF" in refusal(tmp_path, labels=vectors)


LEFT, RIGHT = ([[*TRANSFORM @ (x + dx, y)] for dx, y in CORNERS] for x in (0, SIDE // 2))
SQUARES = [(LEFT, "field"), (RIGHT, "wood")]


def geojson(
    *features: tuple[list | None, object], kind: str = "Polygon", crs: str = "EPSG::32633"
) -> str:
    """A GeoJSON file of shapes by their corners, and their classes."""
    return json.dumps(
        {
            "type": "FeatureCollection",
            "crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{crs}"}},
            "features": [
                {
                    "type": "Feature",
                    "properties": {"kind": name},
                    "geometry": corners
                    and {"type": kind, "coordinates": [corners] if kind == "Polygon" else corners},
                }
                for corners, name in features
            ],
        }
    )


NO_SHAPE = (
    "v.geojson, feature 2 is a line, a point, or a polygon that is damaged or without an area"
)
NO_GEOJSON = "v.geojson is empty, cut, damaged or not GeoJSON"
BAD_VECTORS: list[tuple[str, bytes]] = [
    (NO_SHAPE, geojson((LEFT, "field"), (RIGHT[:2], "wood")).encode()),
    (NO_SHAPE, geojson((LEFT, "field"), ([[5e5, float("nan")], *RIGHT[1:]], "wood")).encode()),
    ("v.geojson holds no polygon", geojson((LEFT, "field"), kind="LineString").encode()),
    ("v.geojson has no field 'kind'", geojson(*SQUARES).replace("kind", "sort").encode()),
    ("feature 1: field 'kind' is empty", geojson((LEFT, None), (RIGHT, "wood")).encode()),
    ("v.geojson cannot be projected onto", geojson(*SQUARES, crs="OGC:1.3:CRS84").encode()),
    (NO_GEOJSON, b""),
    (NO_GEOJSON, b"hello"),
    (NO_GEOJSON, geojson(*SQUARES).encode("utf-16")),
    (NO_GEOJSON, b'<OGRVRTDataSource><OGRVRTLayer name="Feature"/></OGRVRTDataSource>'),
    (NO_GEOJSON, b'{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline"}'),
    ("is cut, damaged or not a vector file", geojson(*SQUARES)[:-40].encode()),
    (
        "is cut, damaged or not a vector file",
        geojson(*SQUARES).replace("wood", "caf\xe9").encode("latin-1"),
    ),
]


@pytest.mark.parametrize(("message", "content"), BAD_VECTORS)
def test_bad_vectors_are_refused_in_one_line(
    message: str, content: bytes, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.tif", make_bands())
    (tmp_path / "v.geojson").write_bytes(content)
    assert message in refusal(tmp_path, labels=tmp_path / "v.geojson")
    assert not recwarn


def test_features_without_a_shape_are_skipped(tmp_path: Path) -> None:
    image = write(tmp_path / "a.tif", make_bands())
    (tmp_path / "v.geojson").write_text(geojson(*SQUARES, (None, "wood")))
    options = MapWindows(tile=TILE, block=1, field="kind", labels=tmp_path / "v.geojson")
    assert convert_maps(image, tmp_path / "out", options).classes == ("field", "wood")


def test_vectors_of_two_layers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.tif", make_bands())
    for name in ("one", "two"):
        shapes = shapely.to_wkb(np.array([shapely.Polygon(LEFT)]))
        place = {"driver": "GPKG", "geometry_type": "Polygon", "crs": CRS, "layer": name}
        fields = [np.array(["field"], object)], ["kind"]
        pyogrio.raw.write(tmp_path / "v.gpkg", shapes, *fields, append=name == "two", **place)
    message = refusal(tmp_path, labels=tmp_path / "v.gpkg")
    assert "v.gpkg has 2 layers (one, two); save one of them alone" in message


VRT = b'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand band="1"/></VRTDataset>'


def test_labels_among_the_maps_are_no_map_however_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps" / "a.tif", make_bands(1, "uint8"))
    mask = write(tmp_path / "maps" / "m.tif", make_labels()[None])
    monkeypatch.chdir(tmp_path)
    options = MapWindows(labels=mask, tile=TILE, block=1)
    made = convert_maps(Path("maps"), tmp_path / "out", options)
    assert made.splits.total() == (SIDE // TILE) ** 2


@pytest.mark.parametrize("number", range(8))
def test_one_area_with_nearly_all_windows_is_not_validated_on(number: int) -> None:
    blocks = [(number, *divmod(place, 2)) for place in (0,) * 16 + (1,) * 4 + (2,) * 4 + (3,)]
    windows = [MapWindow(0, 0, 1, 1, frozenset({block})) for block in blocks]
    chosen = choose_val_blocks(windows, 0.2)
    assert 0.1 < np.mean([block in chosen for block in blocks]) < 0.3


def test_maps_whose_first_row_is_the_southernmost_have_their_labels(tmp_path: Path) -> None:
    upward = TRANSFORM @ rasterio.Affine.scale(1, -1)
    image = write(tmp_path / "a.tif", make_bands(), transform=upward)
    mask = write(tmp_path / "m.tif", make_labels()[None], transform=upward)
    options = MapWindows(labels=mask, tile=TILE, block=1)
    assert convert_maps(image, tmp_path / "out", options).splits.total() == (SIDE // TILE) ** 2
    for sample, bounds, _ in all_tiles(tmp_path / "out"):
        column, row = (round(each) for each in ~upward @ (bounds.left, bounds.top))
        expected = make_labels()[row : row + TILE, column : column + TILE]
        np.testing.assert_array_equal(sample.labels, expected)


def test_labels_are_found_in_either_form_of_unicode(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "maps" / folder).mkdir(parents=True)
    write(tmp_path / "maps/images/caf\u00e9.tif", make_bands(1))
    write(tmp_path / "maps/labels/cafe\u0301_mask.tif", make_labels()[None])
    made = convert_maps(tmp_path / "maps", tmp_path / "out", MapWindows(tile=TILE, block=1))
    assert made.splits.total() == (SIDE // TILE) ** 2


def test_areas_lie_along_the_rows_of_a_rotated_map(tmp_path: Path) -> None:
    turned = TRANSFORM @ rasterio.Affine.rotation(30)
    image = write(tmp_path / "a.tif", make_bands(1), transform=turned)
    mask = write(tmp_path / "m.tif", make_labels()[None], transform=turned)
    options = MapWindows(labels=mask, tile=TILE, block=1)
    made = convert_maps(image, tmp_path / "out", options)
    assert made.splits.total() == (SIDE // TILE) ** 2
    assert made.splits["val"] > 0


def test_a_split_whose_windows_all_lie_across_areas_is_refused(tmp_path: Path) -> None:
    places = {"a": TRANSFORM, "b": TRANSFORM @ rasterio.Affine.rotation(45)}
    for name, place in places.items():
        side = slice(TILE if name == "a" else SIDE)
        write(tmp_path / f"{name}.tif", make_bands(1)[:, side, side], transform=place)
        write(tmp_path / f"{name}_mask.tif", make_labels()[None, side, side], transform=place)
    (tmp_path / "maps.txt").write_text("a.tif a_mask.tif\nb.tif b_mask.tif\n")
    with pytest.raises(UserError, match="all windows of val lie across areas of both splits"):
        convert_maps(tmp_path / "maps.txt", tmp_path / "out", SMALL)


def test_classes_that_are_numbers_are_sorted_as_such_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "maps" / "images").mkdir(parents=True)
    (tmp_path / "maps" / "labels").mkdir()
    for place, name in enumerate("ab"):
        write(tmp_path / "maps" / "images" / f"{name}.tif", make_bands(), place * SIDE)
        values = make_labels()[None] * 5 + place
        write(tmp_path / "maps" / "labels" / f"{name}.tif", values, place * SIDE)
        (tmp_path / "maps" / "images" / f"._{name}.tif").write_bytes(b"\0\5\x16\7")
    made = convert_maps(tmp_path / "maps", tmp_path / "out", SMALL)
    assert made.classes == ("0", "1", "5", "6", "10", "11")


def test_tiles_of_maps_with_like_names_do_not_replace_each_other(tmp_path: Path) -> None:
    lines = []
    for place, name in enumerate(("x/a", "y/a", "z/a-1")):
        (tmp_path / name).parent.mkdir()
        write(tmp_path / f"{name}.tif", make_bands(), place * SIDE)
        write(tmp_path / f"{name}_mask.tif", make_labels()[None], place * SIDE)
        lines.append(f"{name}.tif {name}_mask.tif\n")
    (tmp_path / "maps.txt").write_text("".join(lines))
    made = convert_maps(tmp_path / "maps.txt", tmp_path / "out", SMALL)
    assert len(all_tiles(tmp_path / "out")) == made.splits.total() == 3 * (SIDE // TILE) ** 2


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("has a palette, bands of several types, complex numbers", np.complex64),
        ("is cut, damaged or not a GeoTIFF", b""),
        ("is cut, damaged or not a GeoTIFF", VRT),
    ],
)
def test_bad_rasters_are_refused_in_one_line(
    message: str, content: bytes | type, tmp_path: Path
) -> None:
    (tmp_path / "maps").mkdir()
    path = tmp_path / "maps" / "a.tif"
    mask = write(tmp_path / "m.tif", make_labels()[None])
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, make_bands(1).astype(content))
    assert message in refusal(tmp_path, labels=mask, field=None)


def test_the_command_makes_a_data_set_that_check_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.tif", make_bands())
    write(tmp_path / "m.tif", make_labels()[None])
    (tmp_path / "maps.txt").write_text("a.tif m.tif\n")
    given = ("prepare", "maps", str(tmp_path / "maps.txt"), str(tmp_path / "out"))
    assert run(*given, "--tile", "64", "--block", "1") == 0
    assert "25 images" not in capsys.readouterr().err
    assert run("check", str(tmp_path / "out")) == 0
    assert "4 bands of uint16" in capsys.readouterr().out
    with Image.open(next((tmp_path / "out" / "masks").rglob("*.png"))) as mask:
        assert mask.size == (TILE, TILE)
    assert run(*given) == 2
    assert "exists, and a data set is never written over another" in capsys.readouterr().err
    assert run("prepare", "coco", str(tmp_path), str(tmp_path / "new"), "--tile", "64") == 2
    assert "are for `prepare maps`" in capsys.readouterr().err
