"""Polygons of label rasters: a coverage of exact areas, whatever the height of strips."""

import numpy as np
import pytest

from segmenter.predicting.maps import regions as regions_module
from segmenter.predicting.maps.polygons import region_polygons
from segmenter.predicting.maps.regions import Regions, find_regions
from tests.helpers.floods import flooded

shapely = pytest.importorskip("shapely", reason="needs shapely, of the extra geo")
pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")

WIDTH = 50
HEIGHTS = (1 << 23, WIDTH * 7)
"""Pixels of strips: all rows at once, or seven."""


def noise(side: int = 1) -> np.ndarray:
    rng = np.random.default_rng(side)
    coarse = rng.integers(0, 4, (60 // side, WIDTH // side), np.uint8)
    labels = coarse.repeat(side, axis=0).repeat(side, axis=1)
    labels[20:31, :9] = 255
    return labels


def drawn(
    labels: np.ndarray, tolerance: float = 0, min_pixels: float = 0
) -> tuple[np.ndarray, np.ndarray, Regions]:
    def read(top: int, bottom: int) -> np.ndarray:
        return labels[top:bottom]

    regions = find_regions(labels.shape, read, min_pixels=float(min_pixels))
    batches = list(region_polygons(regions, read, tolerance=float(tolerance)))
    polygons, numbers = (np.concatenate(each) for each in zip(*batches, strict=True))
    return polygons, numbers, regions


@pytest.fixture(params=HEIGHTS)
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions_module, "_STRIP_PIXELS", request.param)


@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("side", [1, 5])
def test_regions_are_those_of_a_flood_fill(side: int) -> None:
    labels = noise(side)
    polygons, numbers, regions = drawn(labels)
    expected = sorted((label, len(pixels)) for label, pixels in flooded(labels))
    assert sorted(zip(regions.labels, regions.pixels, strict=True)) == expected
    np.testing.assert_array_equal(shapely.area(polygons), regions.pixels[numbers])
    assert len(polygons) == sum(label != 255 for label, _ in expected)


@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("tolerance", [0, 1.5, 4])
@pytest.mark.parametrize("min_pixels", [0, 12])
def test_polygons_share_all_their_borders(tolerance: float, min_pixels: float) -> None:
    polygons, _, _ = drawn(noise(), tolerance, min_pixels)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert set(shapely.get_type_id(polygons)) == {shapely.GeometryType.POLYGON}


@pytest.mark.usefixtures("strips")
def test_every_pixel_lies_in_a_polygon_of_its_class() -> None:
    labels = noise(5)
    polygons, numbers, regions = drawn(labels)
    tree = shapely.STRtree(polygons)
    rows, columns = np.nonzero(labels != 255)
    points, found = tree.query(shapely.points(columns + 0.5, rows + 0.5), predicate="within")
    np.testing.assert_array_equal(points, np.arange(len(rows)))
    np.testing.assert_array_equal(regions.labels[numbers[found]], labels[rows, columns])


def test_small_regions_join_their_largest_neighbour() -> None:
    labels = np.zeros((20, WIDTH), np.uint8)
    labels[:, 30:] = 1
    labels[5:7, 29:31] = 2  # between both, and smaller than either
    labels[15, :] = 255
    labels[17, 3] = labels[19, 49] = 3
    polygons, numbers, regions = drawn(labels, min_pixels=5)
    assert 2 not in regions.labels
    assert 3 not in regions.labels
    assert shapely.area(polygons).sum() == (labels != 255).sum()
    areas = dict(zip(regions.labels[numbers], shapely.area(polygons), strict=False))
    assert areas.keys() == {0, 1}


def test_a_small_island_in_no_data_is_left_out() -> None:
    labels = np.full((20, WIDTH), 255, np.uint8)
    labels[3, 3] = 1
    labels[10:, :] = 2
    polygons, _, _ = drawn(labels, min_pixels=2)
    assert shapely.area(polygons).tolist() == [10 * WIDTH]


def test_joined_regions_do_not_depend_on_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pixels in HEIGHTS:
        monkeypatch.setattr(regions_module, "_STRIP_PIXELS", pixels)
        polygons, numbers, regions = drawn(noise(), min_pixels=12)
        found.append(sorted(zip(regions.labels[numbers], shapely.area(polygons), strict=True)))
    assert found[0] == found[1]
    assert min(area for _, area in found[0]) >= 12


def test_borders_across_seams_are_one_polygon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions_module, "_STRIP_PIXELS", WIDTH * 7)
    labels = np.zeros((60, WIDTH), np.uint8)
    labels[5:55, 10:40] = 1
    labels[20:40, 20:30] = 2
    polygons, numbers, regions = drawn(labels)
    assert len(polygons) == 3
    holes = shapely.get_num_interior_rings(polygons)
    assert dict(zip(regions.labels[numbers], holes, strict=True)) == {0: 1, 1: 1, 2: 0}


def test_simplification_removes_steps() -> None:
    rows, columns = np.mgrid[:60, :WIDTH]
    labels = (rows > columns).astype(np.uint8)
    exact, _, _ = drawn(labels)
    simple, _, _ = drawn(labels, tolerance=1.5)
    assert shapely.get_num_coordinates(exact).sum() > 200
    assert shapely.get_num_coordinates(simple).sum() < 20
    assert shapely.area(simple).sum() == 60 * WIDTH


def test_a_map_without_labels_has_no_polygon() -> None:
    polygons, _, _ = drawn(np.full((20, WIDTH), 255, np.uint8))
    assert len(polygons) == 0
