"""Areas of interest: what is read, and what is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosentinel_core.errors import AreaError
from cryosentinel_core.ground.area import Area
from cryosentinel_core.ground.lattice import owner_of_cell
from cryosentinel_core.ground.projection import Zone
from cryosentinel_core.ground.regions import REGIONS
from cryosentinel_core.io.tables.area_loading import load_area

BOX = shapely.box(76.95, 43.0, 77.05, 43.08)


def write(path: Path, geometry: Any, **extra: Any) -> str:
    path.write_text(json.dumps({**shapely.geometry.mapping(geometry), **extra}))
    return str(path)


def test_geometry_feature_and_collection_are_the_same(tmp_path: Path) -> None:
    geometry = shapely.geometry.mapping(BOX)
    feature = {"type": "Feature", "geometry": geometry, "properties": {}}
    for name, data in {
        "a": geometry,
        "b": feature,
        "c": {"type": "FeatureCollection", "features": [feature]},
        "d": {"type": "GeometryCollection", "geometries": [geometry]},
    }.items():
        (tmp_path / f"{name}.geojson").write_text(json.dumps(data))
        area = load_area(str(tmp_path / f"{name}.geojson"))
        assert area.name == name
        assert area.geometry.equals(BOX)


@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
@pytest.mark.parametrize("epsg", [4326, 32643, 3857])
def test_any_vector_file_in_any_crs(tmp_path: Path, suffix: str, epsg: int) -> None:
    path = tmp_path / f"area.{suffix}"
    geopandas.GeoDataFrame(geometry=[BOX], crs=4326).to_crs(epsg).to_file(path)
    assert load_area(str(path)).geometry.symmetric_difference(BOX).area < 1e-9


def test_holes_and_several_parts_stay(tmp_path: Path) -> None:
    holed = shapely.difference(BOX, shapely.box(76.99, 43.03, 77.01, 43.05))
    both = shapely.union(holed, shapely.box(77.1, 43.0, 77.12, 43.02))
    area = load_area(write(tmp_path / "x.geojson", both))
    assert area.geometry.symmetric_difference(both).area < 1e-12


def test_every_region_loads() -> None:
    for name in REGIONS:
        assert load_area(name, allow_large=True).is_validated
    with pytest.raises(AreaError, match="more than 20,000"):
        load_area("tien_shan_full")


BOWTIE = shapely.Polygon([(76.9, 43.0), (77.0, 43.1), (77.0, 43.0), (76.9, 43.1)])


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (BOWTIE, "not valid"),
        (shapely.box(43.0, 76.95, 43.08, 77.05), "swapped"),
        (shapely.box(43.0, 95.0, 43.1, 95.1), "swapped"),
        (shapely.Point(77, 43), "Point, wanted a polygon"),
        (shapely.Polygon(), "empty|broken|no geometry"),
        (shapely.box(650000, 4760000, 660000, 4770000), "no degrees"),
        (shapely.box(60, 20, 110, 50), "more than"),
    ],
)
def test_bad_areas_say_what_is_wrong(tmp_path: Path, geometry: Any, message: str) -> None:
    with pytest.raises(AreaError, match=message) as caught:
        load_area(write(tmp_path / "bad.geojson", geometry))
    assert caught.value.hint


def test_no_file_no_region_lists_the_regions() -> None:
    with pytest.raises(AreaError) as caught:
        load_area("ile_alatua")
    assert "ile_alatau" in caught.value.hint


def test_not_geojson_and_empty_collections(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text("not json")
    (tmp_path / "b.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "c.geojson").write_text('{"type": "Polygon", "coordinates": [[[1, 2], "x"]]}')
    for name, message in {"a": "not GeoJSON", "b": "no geometry", "c": "broken"}.items():
        with pytest.raises(AreaError, match=message):
            load_area(str(tmp_path / f"{name}.geojson"))


def test_a_shapefile_without_prj_has_no_crs(tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[BOX], crs=4326).to_file(tmp_path / "area.shp")
    (tmp_path / "area.prj").unlink()
    with pytest.raises(AreaError, match="coordinate reference system"):
        load_area(str(tmp_path / "area.shp"))


def test_swapped_looking_is_allowed_with_a_yes(tmp_path: Path) -> None:
    path = write(tmp_path / "kola.geojson", shapely.box(33.0, 68.0, 33.2, 68.1))
    assert not load_area(path, allow_large=True).is_validated


def test_the_antimeridian_is_cut(tmp_path: Path) -> None:
    over = load_area(write(tmp_path / "over.geojson", shapely.box(179.9, 51.0, 180.1, 51.1)))
    jumps = load_area(
        write(tmp_path / "jumps.geojson", shapely.Polygon([(179.9, 51), (-179.9, 51), (-179.9, 51.1), (179.9, 51.1)]))
    )
    for area in (over, jumps):
        assert area.geometry.bounds == pytest.approx((-180.0, 51.0, 180.0, 51.1))
        assert area.area_km2 == pytest.approx(0.2 * 111.2 * 70.0 * 0.1, rel=0.02)
        assert {zone.number for zone in area.zones} == {1, 60}


def test_ile_alatau_lies_in_two_zones() -> None:
    area = load_area("ile_alatau")
    assert area.zones == (Zone(32643), Zone(32644))
    assert area.area_km2 == pytest.approx(13_069, rel=0.01)
    assert all(owner_of_cell(cell).epsg == cell.epsg for cell in area.touched[::97])


def test_core_and_ground_are_rings_around_what_is_touched() -> None:
    area = Area("x", BOX)
    touched, core, ground = set(area.touched), set(area.core), set(area.ground)
    assert core == {near for cell in touched for near in cell.neighbours(1)}
    assert ground == {near for cell in core for near in cell.neighbours(1)}


@settings(deadline=None, max_examples=20)
@given(st.floats(76.96, 77.04))
def test_two_halves_touch_what_the_whole_touches(lon: float) -> None:
    west, east = (shapely.intersection(BOX, shapely.box(*box)) for box in ((70, 40, lon, 50), (lon, 40, 80, 50)))
    halves = set(Area("w", west).touched) | set(Area("e", east).touched)
    assert halves == set(Area("x", BOX).touched)
