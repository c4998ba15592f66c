"""Areas and perimeters against closed forms, pyproj's own routine and the mistakes that projected areas make."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from cryosentinel_core.errors import InputError
from cryosentinel_core.ground.geodesic import (
    geodesic_area_m2,
    geodesic_perimeter_m,
    lake_id,
    lake_id_of,
    measure_geodesic,
)

SQUARE = shapely.box(77.00, 43.00, 77.01, 43.01)
HOLE = shapely.box(77.002, 43.002, 77.004, 43.004)


def box_area_m2(west: float, south: float, east: float, north: float) -> float:
    """Area between two meridians and two parallels of WGS 84, closed form (Snyder 1987, equation 3-11)."""
    a, f = 6378137.0, 1 / 298.257223563
    e = math.sqrt(f * (2 - f))

    def q(lat: float) -> float:
        s = math.sin(math.radians(lat))
        return (1 - e**2) * (s / (1 - (e * s) ** 2) + math.atanh(e * s) / e)

    return a**2 / 2 * (q(north) - q(south)) * math.radians(east - west)


def test_area_is_that_of_the_closed_form() -> None:
    # A box of a hundredth of a degree: its parallels and the geodesics between its corners differ by under a part in a million.
    assert geodesic_area_m2(SQUARE) == pytest.approx(box_area_m2(77.0, 43.0, 77.01, 43.01), rel=1e-6)


def test_holes_are_subtracted_however_rings_are_drawn() -> None:
    with_hole = SQUARE.difference(HOLE)
    reversed_rings = shapely.Polygon(
        list(with_hole.exterior.coords)[::-1], [list(ring.coords)[::-1] for ring in with_hole.interiors]
    )
    same_way = shapely.Polygon(list(SQUARE.exterior.coords), [list(HOLE.exterior.coords)])
    wanted = geodesic_area_m2(SQUARE) - geodesic_area_m2(HOLE)
    for polygon in (with_hole, reversed_rings, same_way):
        assert geodesic_area_m2(polygon) == pytest.approx(wanted, rel=1e-12)
        assert geodesic_perimeter_m(polygon) == pytest.approx(geodesic_perimeter_m(SQUARE) + geodesic_perimeter_m(HOLE))


def test_multipolygons_add_up_and_other_geometries_have_no_area() -> None:
    far = shapely.box(-70.0, -33.0, -69.99, -32.99)
    both = shapely.MultiPolygon([SQUARE, far])
    assert geodesic_area_m2(both) == pytest.approx(geodesic_area_m2(SQUARE) + geodesic_area_m2(far))
    mixed = shapely.GeometryCollection([both, shapely.Point(0, 0), shapely.LineString([(0, 0), (1, 1)])])
    assert geodesic_area_m2(mixed) == geodesic_area_m2(both)
    assert geodesic_area_m2(shapely.Polygon()) == 0.0


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    areas, perimeters = measure_geodesic([SQUARE, HOLE])
    assert areas.tolist() == [geodesic_area_m2(SQUARE), geodesic_area_m2(HOLE)]
    assert perimeters.tolist() == [geodesic_perimeter_m(SQUARE), geodesic_perimeter_m(HOLE)]
    assert measure_geodesic([])[0].shape == (0,)


@settings(deadline=None, max_examples=40)
@given(lon=st.floats(-179, 178), lat=st.floats(-75, 75), radius=st.floats(1e-4, 0.5))
def test_area_agrees_with_pyproj(lon: float, lat: float, radius: float) -> None:
    disc = shapely.Point(lon, lat).buffer(radius)
    area, length = Geod(ellps="WGS84").geometry_area_perimeter(disc)
    # pyproj's areas are differences of numbers as large as a hemisphere: a tenth of a square millimetre a corner is their rounding.
    assert geodesic_area_m2(disc) == pytest.approx(abs(area), rel=1e-9, abs=1e-3)
    assert geodesic_perimeter_m(disc) == pytest.approx(length, rel=1e-9)


@pytest.mark.parametrize("lat", [-89.5, -80.3, -60.0, 0.0, 43.0, 79.9])
@pytest.mark.parametrize("radius_m", [300.0, 3e3, 1e5])
@pytest.mark.parametrize("n_corners", [5, 60])
def test_short_edges_all_at_once_agree_with_pyproj(lat: float, radius_m: float, n_corners: int) -> None:
    """Also across the 180th meridian, near the poles and with edges so long that they are measured one by one."""
    rng = np.random.default_rng(7)
    angle = np.linspace(0, 2 * np.pi, n_corners, endpoint=False)
    away = radius_m * np.exp(rng.normal(0, 0.2, (20, n_corners)))
    x = 179.99 + away * np.cos(angle) / 111_320 / np.cos(np.radians(lat))
    y = np.clip(lat + away * np.sin(angle) / 111_320, -90, 90)
    rings = np.stack([(x + 180) % 360 - 180, y], axis=-1)
    area, length = measure_geodesic(shapely.polygons(rings))
    pyproj = [Geod(ellps="WGS84").polygon_area_perimeter(*ring.T.copy()) for ring in rings]
    np.testing.assert_allclose(area, np.abs([one[0] for one in pyproj]), rtol=1e-9, atol=2e-3)
    np.testing.assert_allclose(length, [one[1] for one in pyproj], rtol=1e-9)


def test_small_areas_are_not_lost_in_rounding() -> None:
    """At the equator the ellipsoid is flat over ten metres: an area in degrees is one in metres by the two radii of curvature."""
    disc = shapely.Point(0, 0).buffer(1e-4)
    geod = Geod(ellps="WGS84")
    square_degree_m2 = np.radians(1.0) ** 2 * geod.a**2 * (1 - geod.f * (2 - geod.f))
    assert geodesic_area_m2(disc) == pytest.approx(disc.area * square_degree_m2, rel=1e-10)


def test_areas_do_not_depend_on_company() -> None:
    rng = np.random.default_rng(3)
    outlines = np.array([shapely.Point(*rng.uniform(-60, 60, 2)).buffer(rng.uniform(1e-4, 0.3)) for _ in range(50)])
    area, length = measure_geodesic(outlines)
    for index in (0, 7, 49):
        assert measure_geodesic(outlines[index:])[0][0] == area[index]
        assert geodesic_perimeter_m(outlines[index]) == length[index]


def test_projected_areas_would_mislead() -> None:
    def projected(epsg: int) -> float:
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(*np.array(SQUARE.exterior.coords).T)
        return float(shapely.Polygon(np.column_stack([x, y])).area)

    true = geodesic_area_m2(SQUARE)
    assert projected(3857) / true > 1.8
    assert projected(32643) / true == pytest.approx(1, abs=1.2e-3)
    assert abs(projected(32643) / true - 1) > 1e-5


@pytest.mark.parametrize(
    ("lon", "lat", "wanted"),
    [
        (77.012, 43.056, "GL077012E43056N"),
        (86.922, 27.899, "GL086922E27899N"),
        (-70.5, -33.1, "GL070500W33100S"),
        (-0.0001, -0.0001, "GL000000E00000N"),
        (180.0, -9.9996, "GL180000E10000S"),
        (7.0004, 5.0, "GL007000E05000N"),
    ],
)
def test_lake_id_names_the_place(lon: float, lat: float, wanted: str) -> None:
    assert lake_id(lon, lat) == wanted


@pytest.mark.parametrize(("lon", "lat"), [(181.0, 0.0), (0.0, 91.0), (float("nan"), 0.0)])
def test_lake_id_refuses_what_is_no_place(lon: float, lat: float) -> None:
    with pytest.raises(InputError, match="not a longitude and latitude"):
        lake_id(lon, lat)


def test_id_point_lies_in_the_water_not_on_the_island() -> None:
    ring = shapely.Point(77.0, 43.0).buffer(0.02).difference(shapely.Point(77.0, 43.0).buffer(0.015))
    assert lake_id_of(ring) != "GL077000E43000N"
