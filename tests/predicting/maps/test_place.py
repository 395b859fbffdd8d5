"""Square metres of polygons, whatever the projection of the raster."""

import numpy as np
import pytest

from segmenter.predicting.maps.place import Place

rasterio = pytest.importorskip("rasterio", reason="needs rasterio, of the extra geo")
shapely = pytest.importorskip("shapely", reason="needs shapely, of the extra geo")

RADIUS = 6_371_008.8


def place(crs: str, pixel: float, left: float, top: float, size: tuple[int, int]) -> Place:
    transform = rasterio.Affine(pixel, 0, left, 0, -pixel, top)
    return Place(rasterio.CRS.from_string(crs), transform, size)


def test_a_projection_that_keeps_areas_in_the_middle_alone_is_not_measured_in_its_plane() -> None:
    mercator = place("EPSG:3857", 1e5, -1e6, 1e7, (200, 20))  # 66 degrees to the north and south
    polygons = np.array([shapely.box(5, top, 15, top + 10) for top in (5, 95, 185)])
    south, north = (np.arctan(np.sinh((1e7 - row * 1e5) / 6_378_137)) for row in (15, 5))
    expected = RADIUS**2 * (np.sin(north) - np.sin(south)) * 1e6 / 6_378_137
    areas = mercator.areas(polygons)
    np.testing.assert_allclose(areas[[0, 2]], expected, rtol=0.01)
    assert areas[1] == pytest.approx(1e12, rel=0.01)


def test_areas_around_a_pole_are_not_cut_open() -> None:
    polar = place("EPSG:3413", 1e3, -2e6, 5e5, (4500, 4000))  # its middle is at 74 degrees
    columns, rows = np.mgrid[0:4000:100, 0:4500:100].reshape(2, -1)
    areas = polar.areas(shapely.box(columns, rows, columns + 100, rows + 100))
    assert 0.8e10 < areas.min() < areas.max() < 1.1e10


def test_long_edges_bend_as_the_projection_does() -> None:
    lambert = place("EPSG:3347", 1e3, 3.6e6, 4.3e6, (3600, 5500))  # Canada
    columns, rows = np.mgrid[0:5500:100, 0:3600:100].reshape(2, -1)
    cells = shapely.box(columns, rows, columns + 100, rows + 100)
    (whole,) = lambert.areas(np.array([shapely.box(0, 0, 5500, 3600)]))
    assert whole == pytest.approx(lambert.areas(cells).sum(), rel=1e-4)


def test_polygons_beyond_the_system_are_measured_in_its_plane() -> None:
    globe = place("+proj=ortho +lat_0=0 +lon_0=10", 1e5, -7e6, 7e6, (140, 140))
    inside, beyond = shapely.box(110, 65, 120, 75), shapely.box(0, 0, 10, 10)
    areas = globe.areas(np.array([inside, beyond, inside]))
    assert areas[0] == areas[2] > 1.2e12
    assert areas[1] == pytest.approx(1e12)
